/** Ends the answer as an error. Its message is for the person who asked; other errors' messages are only logged. */
export class AgentError extends Error {}

/** The client's message, as the gateway posts it. */
export interface Message {
  session_id: string;
  type: string;
  [field: string]: any;
}

/** The place of a message in its conversation. */
export interface Session {
  readonly sessionId: string;
  readonly turnId: string;
  /** The person who asked; empty if the gateway does not know. */
  readonly subject: string;
  /** Aborted by Stop, and when the gateway has gone. */
  readonly signal: AbortSignal;
}

export interface Options {
  /** Each is accepted: two while a key is changed. */
  keys: readonly (string | undefined)[];
  /** Seconds between comments, by which the gateway knows that the agent is alive. Default: 15. */
  keepAliveSeconds?: number;
  /**
   * An answer goes on when its connection breaks, and is kept for so long after its end, so that the gateway can read it
   * on by `GET <path>/<turn_id>`. Default: 0, it is aborted.
   */
  keepSeconds?: number;
}

/** What is used of Node's `IncomingMessage`, and of Express's `Request`. */
export interface Incoming extends AsyncIterable<Uint8Array> {
  method?: string;
  url?: string;
  headers: Record<string, string | string[] | undefined>;
  body?: unknown;
}

/** What is used of Node's `ServerResponse`. */
export interface Outgoing {
  writeHead(status: number, headers: Record<string, string>): unknown;
  flushHeaders(): void;
  write(chunk: Uint8Array): boolean;
  end(): unknown;
  on(event: 'close', listener: () => void): unknown;
  once(event: 'drain', listener: () => void): unknown;
}

/** A handler from a `Request` to a `Response`. */
export interface Agent {
  (request: Request): Promise<Response>;
  /** A listener for Node's `http`, and a handler for Express. */
  node(incoming: Incoming, outgoing: Outgoing): Promise<void>;
}

/**
 * Make an agent of an async generator function, which yields texts (tokens) and objects (events, with a `type`).
 *
 * @throws {Error} `keys` is empty, or one of them is.
 */
export function agent(
  options: Options,
  answer: (message: Message, session: Session) => AsyncIterable<string | object>,
): Agent;
