/** A position in a session's log. `{offset: 0}` without an epoch: everything that the log holds. */
export interface Cursor {
  epoch?: string | null;
  offset: number;
}

export interface ConnectOptions {
  /** The socket's whole address, `wss://host/ws/<session id>/`; or give `sessionId`, with or without `base`. */
  url?: string;
  /** Where the gateway is, for example `https://chat.example.com`; by default the page's own origin. */
  base?: string;
  /** 1 to 128 of `A-Z a-z 0-9 . _ : ~ @ -`. */
  sessionId?: string;
  /** Called for every connection; what it gives is shown to the gateway as a subprotocol, never in the address. */
  ticket?: () => string | null | undefined | Promise<string | null | undefined>;
  /** Let tokens that are behind come merged into one frame. Default `true`. */
  coalesce?: boolean;
  /** Where to start. Default: the turn in flight from its start, then live. */
  cursor?: Cursor | null;
  /** The WebSocket class. Default: the environment's own. */
  WebSocket?: new (url: string, protocols: string[]) => unknown;
}

export interface SendOptions {
  /** What to do while another turn is in flight. The gateway's default is `enqueue`. */
  onBusy?: 'enqueue' | 'reject' | 'interrupt';
  /** `user_message`, or a kind that the gateway forwards to the agent. */
  type?: string;
  /** Makes it safe to send the same message twice: it is one turn. Default: a random one. */
  clientMessageId?: string;
  /** Further fields, sent as they are. */
  [field: string]: unknown;
}

export interface StateInfo {
  state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** Why it waits or is closed: the server's `disconnect` code, or one of this client (see `docs/client.md`). */
  code?: string;
  /** The same in words, where the server gave some. */
  content?: string;
  closeCode?: number;
  /** While waiting: milliseconds until the next try; `null`: sleeps until `send()` or `wake()`. */
  delayMs?: number | null;
  /** While waiting: how many tries in a row did not last. */
  attempt?: number;
}

/** What every frame has; other fields depend on its type. */
export interface Frame {
  type: string;
  turn_id?: string;
  /** On frames of the log only. */
  offset?: number;
  [field: string]: unknown;
}

export interface WelcomeFrame extends Frame {
  session_id: string;
  epoch: string;
  offset: number;
  after: number | null;
  recovered: boolean | null;
  heartbeat_seconds: number;
  retention_seconds: number;
  max_message_bytes: number;
  active: { turn_id: string; status: 'running' | 'cancelling' } | null;
  queued: string[];
  pending: PendingRequest[];
  /** Can ended turns be read by page, also those that the log has lost? */
  history?: boolean;
}

/** What the agent asks a person. `client.answer(call_id, …)` answers it. */
export interface PendingRequest {
  call_id: string;
  /** The turn in which it was asked. */
  turn_id: string;
  tool_name: string;
  /** `null`: too large, or there are none. */
  arguments: Record<string, unknown> | unknown[] | string | null;
  /** In UTC, as in RFC 3339; `null` where the request has come since the connection was opened. */
  expires_at: string | null;
}

export interface PendingResolvedFrame extends Frame {
  call_id: string;
  /** The turn whose message answers it. */
  turn_id: string;
  offset: number;
}

export interface SnapshotFrame extends Omit<Frame, 'turn_id'> {
  epoch: string;
  turn_id: string | null;
  /** The message that is being answered; `null` once the turn has ended. */
  user_message?: (Record<string, unknown> & { type: string; content?: unknown; client_message_id?: string }) | null;
  content: string | null;
  offset: number;
  reason: 'trimmed' | 'epoch_changed';
  finish_reason: string | null;
  error: { code: string; content: string } | null;
  history?: boolean;
}

/** An ended turn, as the server keeps it. */
export interface EndedTurn {
  turn_id: string;
  subject: string | null;
  /** Its content; of a forwarded kind the whole message as JSON. */
  message: string;
  answer: string;
  /** `stop`, `cancelled`, `error`, or what the agent said. */
  finish_reason: string;
  error: { code: string; content: string } | null;
  /** The agent's other events, each with the number of code points of `answer` before it. */
  events: { position: number; event: Record<string, unknown> & { type: string } }[];
  /** How many events were too large to be kept. */
  events_left_out: number;
  /** `null` in the moment before the turn is in the database. */
  started_at: string | null;
  ended_at: string | null;
}

export interface HistoryPage {
  /** The newest first. */
  turns: EndedTurn[];
  /** `before` of the next page; `null`: this is the last one. */
  next: string | null;
  /** Turns may be missing, because the database did not answer: ask again. */
  incomplete: boolean;
}

export interface UserMessageFrame extends Frame {
  content: string;
  client_message_id?: string | null;
  turn_id: string;
  offset: number;
}

export interface TokenFrame extends Frame {
  token: string;
  is_final: boolean;
  finish_reason?: string;
  /** On merged frames: the first of the offsets that this frame stands for. */
  from_offset?: number;
}

export interface ErrorFrame extends Frame {
  code: string;
  content: string;
  client_message_id?: string;
  /** There when the same message, sent again after so long, may succeed. */
  retry_after_ms?: number;
}

export interface AcceptedFrame extends Frame {
  client_message_id: string;
  turn_id: string;
  position: number | null;
  status: 'queued' | 'running' | 'ended';
  duplicate: boolean;
}

export interface CancelAckFrame extends Omit<Frame, 'turn_id'> {
  turn_id: string | null;
  status: 'cancelling' | 'queued' | 'already_ended' | 'unknown';
}

export interface NoticeFrame extends Frame {
  code: string;
  content: string;
}

export interface DisconnectFrame extends Frame {
  code: string;
  content: string;
  reconnect: boolean;
  delay_ms?: number;
}

/** Every kind of event, with what its handler is called with. */
export interface GatewayEvents {
  /** The connection's state changed. */
  state: (info: StateInfo) => void;
  welcome: (frame: WelcomeFrame) => void;
  /** Put `turn.text` in place of what is shown of that turn. An ended turn's `final` or `error` follows. */
  snapshot: (frame: SnapshotFrame, turn: Turn | null) => void;
  user_message: (frame: UserMessageFrame, turn: Turn) => void;
  token: (frame: TokenFrame, turn: Turn) => void;
  final: (frame: TokenFrame, turn: Turn) => void;
  /** A turn failed. */
  error: (frame: ErrorFrame, turn: Turn) => void;
  /** A message was not taken; `turn` is `null` when the frame names none of this client's messages. */
  refused: (frame: ErrorFrame, turn: Turn | null) => void;
  accepted: (frame: AcceptedFrame, turn: Turn | null) => void;
  cancel_ack: (frame: CancelAckFrame, turn: Turn | null) => void;
  notice: (frame: NoticeFrame, turn: Turn | null) => void;
  /** What waits for a person is another list now; also after each `welcome`. */
  pending: (pending: readonly PendingRequest[]) => void;
  /** A turn's message, of any client, answers what the agent has asked. */
  pending_resolved: (frame: PendingResolvedFrame, turn: Turn) => void;
  /** Any other frame of the log: the agent's own types, and forwarded messages. */
  event: (frame: Frame, turn: Turn) => void;
  disconnect: (frame: DisconnectFrame) => void;
}

export class GatewayError extends Error {
  constructor(frame: Partial<ErrorFrame>);
  readonly code: string;
  readonly retryAfterMs: number | null;
}

/** One message and all that is streamed in answer. Iterating gives the answer's whole text so far, at each change. */
export class Turn implements AsyncIterable<string> {
  /** `null` until the server has the message. */
  readonly id: string | null;
  /** `null` on turns of other clients. */
  readonly clientMessageId: string | null;
  readonly status: 'sending' | 'queued' | 'running' | 'ended';
  /** While queued: how many wait before it, at the time it was accepted. */
  readonly position: number | null;
  /** The answer so far. */
  readonly text: string;
  /** Stopped from this client: its text does not grow any more. */
  readonly isStopped: boolean;
  /** `stop`, `cancelled`, `error`, or what the agent said; `null` before the end. */
  readonly finishReason: string | null;
  readonly error: GatewayError | null;
  /** The turn's id, as soon as the server has the message; fails with {@link GatewayError} when refused. */
  readonly accepted: Promise<string | null>;
  /** The whole text at the end; fails with {@link GatewayError}. */
  readonly done: Promise<string>;
  /** Stop it, also before it was accepted. What is shown of it stays. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncGenerator<string, void, undefined>;
}

export class GatewayClient {
  constructor(options: ConnectOptions);
  readonly state: StateInfo;
  /** The last position seen, to start another client from. */
  readonly cursor: Cursor | null;
  readonly activeTurnId: string | null;
  /** What the agent asks a person and no message has answered yet, the oldest first. */
  readonly pending: readonly PendingRequest[];
  /** Returns a function that ends it. A handler that throws does not disturb the connection. */
  on<Kind extends keyof GatewayEvents>(kind: Kind, handler: GatewayEvents[Kind]): () => void;
  /** Send a message; it is kept and sent again over new connections until the server has it, and answered once. */
  send(content: string | undefined, options?: SendOptions): Turn;
  /**
   * Answer what the agent asks, with a `hitl_decision`; the first answer of all clients counts, and the turn of another
   * fails with `already_decided`. `fields`: `arguments` of an `edit`, a `reason`.
   */
  answer(callId: string, decision: 'approve' | 'edit' | 'reject', fields?: SendOptions): Turn;
  /** Stop a turn, of this client or another; without an id the one in flight, else the next of this client. */
  cancel(turnId?: string | null): void;
  /** Read a page of ended turns, the newest first; fails with {@link GatewayError} when refused, or closed. */
  history(options?: { before?: string | null; limit?: number }): Promise<HistoryPage>;
  /** Connect at once if it waits to; a delay that the server asked for is kept. */
  wake(): void;
  /** Leave for good. Turns that have not ended fail with `closed`; the server goes on with them. */
  close(): void;
}

/** Open a session and keep it open. */
export function connect(options: ConnectOptions): GatewayClient;

/** A random id, good for a session or a message. */
export function newId(): string;
