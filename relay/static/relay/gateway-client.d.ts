/** A position in a session's log. `{offset: 0}` without an epoch: everything in the log. */
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
  /** Called for every connection; its result is presented to the gateway as a subprotocol, never in the address. */
  ticket?: () => string | null | undefined | Promise<string | null | undefined>;
  /** Allow tokens that this client is behind on to be merged into one frame. Default `true`. */
  coalesce?: boolean;
  /** Where to start. Default: the turn in flight from its start, then live frames. */
  cursor?: Cursor | null;
  /** The WebSocket class. Default: the environment's own. */
  WebSocket?: new (url: string, protocols: string[]) => unknown;
  /**
   * Use server-sent events and REST after two sockets in a row could not be opened. Default: whether a response can be read
   * as it arrives, so `false` in React Native.
   */
  http?: boolean;
}

export interface SendOptions {
  /** What to do while another turn is in flight. The gateway's default is `enqueue`. */
  onBusy?: 'enqueue' | 'reject' | 'interrupt';
  /** `user_message`, or a type that the gateway forwards to the agent. */
  type?: string;
  /** Makes it safe to send the same message twice: both are one turn. Default: a random id. */
  clientMessageId?: string;
  /** Further fields, sent unchanged. */
  [field: string]: unknown;
}

export interface StateInfo {
  state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** Why the client waits or is closed: the server's `disconnect` code, or one of the client's own (see `docs/client.md`). */
  code?: string;
  /** The reason as a sentence, if the server sent one. */
  content?: string;
  closeCode?: number;
  /** While waiting: milliseconds until the next attempt; `null`: waits for `send()` or `wake()`. */
  delayMs?: number | null;
  /** While waiting: the number of failed attempts in a row. */
  attempt?: number;
  /** While open: `true` where no socket could be opened, and server-sent events and REST are used. */
  isOverHttp?: boolean;
}

/** The fields of every frame; others depend on its type. */
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
  /** Can ended turns be read page by page, including those that are no longer in the log? */
  history?: boolean;
}

/** A question of the agent to a person. `client.answer(call_id, …)` answers it. */
export interface PendingRequest {
  call_id: string;
  /** The turn in which it was asked. */
  turn_id: string;
  tool_name: string;
  /** `null`: too large, or none. */
  arguments: Record<string, unknown> | unknown[] | string | null;
  /** In UTC, as in RFC 3339; `null` if the question has arrived since the connection was opened. */
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

/** An ended turn, as kept by the server. */
export interface EndedTurn {
  turn_id: string;
  subject: string | null;
  /** Its content; for a forwarded type the whole message as JSON. */
  message: string;
  answer: string;
  /** `stop`, `cancelled`, `error`, or the agent's own reason. */
  finish_reason: string;
  error: { code: string; content: string } | null;
  /** The agent's other events, each with the number of code points of `answer` before it. */
  events: { position: number; event: Record<string, unknown> & { type: string } }[];
  /** The number of events that were too large to be kept. */
  events_left_out: number;
  /** `null` for the moment until the turn is in the database. */
  started_at: string | null;
  ended_at: string | null;
}

/** What an answer is made of, in its order. A part never changes: a change makes another one in its place. */
export type Part =
  | { readonly type: 'text' | 'reasoning'; readonly text: string }
  | ToolPart
  | { readonly type: 'notice'; readonly code: string; readonly text: string }
  /** Any other event of the agent, or a message of another kind than `user_message`. */
  | { readonly type: 'event'; readonly event: Frame };

/** A call of a tool. */
export interface ToolPart {
  readonly type: 'tool';
  readonly callId: string;
  readonly toolName: string;
  readonly input: unknown;
  /** `asking`: it waits for a person, unless {@link GatewayClient.pending} does not have its question any more. */
  readonly state: 'running' | 'asking' | 'done' | 'failed';
  /** While asking: what to give to {@link GatewayClient.answer}. */
  readonly question: string | null;
  /** `null` before it is done. */
  readonly output: unknown;
  /** `null` unless it failed. */
  readonly error: unknown;
}

/** An ended turn of the history, as what a {@link Turn} has of it, and what a person wrote. */
export function readTurn(turn: EndedTurn): {
  id: string;
  /** `null`: the message is of another kind than `user_message`. */
  question: string | null;
  text: string;
  parts: readonly Part[];
  finishReason: string;
  error: GatewayError | null;
};

/**
 * Change the tool call that a `tool_result` or a `pending_resolved` is about, where another turn made it; without such a
 * call it is the same list.
 */
export function withSettled(parts: readonly Part[], frame: Frame): readonly Part[];

export interface HistoryPage {
  /** Newest first. */
  turns: EndedTurn[];
  /** Pass it as `before` to get the next page; `null`: this is the last one. */
  next: string | null;
  /** Turns may be missing because the database did not answer: request the page again. */
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
  /** On merged frames: the first offset that this frame covers. */
  from_offset?: number;
}

export interface ErrorFrame extends Frame {
  code: string;
  content: string;
  client_message_id?: string;
  /** Present if the same message may succeed when it is sent again after this time. */
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

/** Every kind of event, with the arguments of its handler. */
export interface GatewayEvents {
  /** The connection's state changed. */
  state: (info: StateInfo) => void;
  welcome: (frame: WelcomeFrame) => void;
  /** Replace the text shown for that turn with `turn.text`. If the turn has ended, its `final` or `error` follows. */
  snapshot: (frame: SnapshotFrame, turn: Turn | null) => void;
  user_message: (frame: UserMessageFrame, turn: Turn) => void;
  token: (frame: TokenFrame, turn: Turn) => void;
  final: (frame: TokenFrame, turn: Turn) => void;
  /** A turn failed. */
  error: (frame: ErrorFrame, turn: Turn) => void;
  /** A message was refused; `turn` is `null` if the frame names none of this client's messages. */
  refused: (frame: ErrorFrame, turn: Turn | null) => void;
  accepted: (frame: AcceptedFrame, turn: Turn | null) => void;
  cancel_ack: (frame: CancelAckFrame, turn: Turn | null) => void;
  notice: (frame: NoticeFrame, turn: Turn | null) => void;
  /** The list of questions that wait for a person has changed; also called after each `welcome`. */
  pending: (pending: readonly PendingRequest[]) => void;
  /** The message of a turn, from any client, answers a question of the agent. */
  pending_resolved: (frame: PendingResolvedFrame, turn: Turn) => void;
  /** Any other frame of the log: the agent's own types, and forwarded messages. */
  event: (frame: Frame, turn: Turn) => void;
  disconnect: (frame: DisconnectFrame) => void;
}

/** Every kind of event. */
export const KINDS: readonly [
  'state', 'welcome', 'snapshot', 'user_message', 'token', 'final', 'error', 'refused', 'accepted', 'cancel_ack', 'notice',
  'pending', 'pending_resolved', 'event', 'disconnect',
];

export class GatewayError extends Error {
  constructor(frame: Partial<ErrorFrame>);
  readonly code: string;
  readonly retryAfterMs: number | null;
}

/** One message and everything that is streamed in answer to it. Iterating yields the whole text so far at each change. */
export class Turn implements AsyncIterable<string> {
  /** `null` until the server has stored the message. */
  readonly id: string | null;
  /** `null` on turns of other clients. */
  readonly clientMessageId: string | null;
  readonly status: 'sending' | 'queued' | 'running' | 'ended';
  /** While queued: the number of turns ahead of it when it was accepted. */
  readonly position: number | null;
  /** The answer so far. */
  readonly text: string;
  /** The same with reasoning, tool calls, notices and other events, each in its place; another list after each change. */
  readonly parts: readonly Part[];
  /** Stopped by this client: its text no longer grows. */
  readonly isStopped: boolean;
  /** `stop`, `cancelled`, `error`, or the agent's own reason; `null` before the end. */
  readonly finishReason: string | null;
  readonly error: GatewayError | null;
  /** The turn's id, as soon as the server has stored the message; fails with {@link GatewayError} if it is refused. */
  readonly accepted: Promise<string | null>;
  /** The whole text at the end; fails with {@link GatewayError}. */
  readonly done: Promise<string>;
  /** Stop it, even before it is accepted. The text so far stays. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncGenerator<string, void, undefined>;
}

export class GatewayClient {
  constructor(options: ConnectOptions);
  readonly state: StateInfo;
  /** The last position seen, from which another client can start. */
  readonly cursor: Cursor | null;
  readonly activeTurnId: string | null;
  /** The agent's questions to a person that no message has answered yet, oldest first. */
  readonly pending: readonly PendingRequest[];
  /** Returns a function that removes the handler. A handler that throws does not affect the connection. */
  on<Kind extends keyof GatewayEvents>(kind: Kind, handler: GatewayEvents[Kind]): () => void;
  /** Send a message. It is kept and sent again over new connections until the server has stored it, and answered once. */
  send(content: string | undefined, options?: SendOptions): Turn;
  /**
   * Answer a question of the agent with a `hitl_decision`; the first answer of any client counts, and the turns of later
   * ones fail with `already_decided`. `fields`: `arguments` of an `edit`, a `reason`.
   */
  answer(callId: string, decision: 'approve' | 'edit' | 'reject', fields?: SendOptions): Turn;
  /** Stop a turn of this client or another one; without an id the one in flight, otherwise this client's next one. */
  cancel(turnId?: string | null): void;
  /** Read a page of ended turns, newest first; fails with {@link GatewayError} if it is refused or the client is closed. */
  history(options?: { before?: string | null; limit?: number }): Promise<HistoryPage>;
  /** Reconnect at once instead of waiting; a delay that the server asked for is still respected. */
  wake(): void;
  /** Close permanently. Open turns fail here with `closed`; the server continues them. */
  close(): void;
}

/** Open a session and keep it open. */
export function connect(options: ConnectOptions): GatewayClient;

/** A random id for a session or a message. */
export function newId(): string;
