import type {
  ConnectOptions,
  GatewayClient,
  GatewayError,
  HistoryPage,
  Part,
  PendingRequest,
  SendOptions,
  StateInfo,
  Turn,
} from './gateway-client.js';

export interface SessionOptions extends ConnectOptions {
  /** The newest page of the history, if the page already has it, for example rendered by a server. */
  history?: Pick<HistoryPage, 'turns' | 'next'>;
}

interface MessageBase {
  /** Stable from the moment when the message is shown, so it can be a React `key`. */
  readonly id: string;
  /** `null` until the gateway has stored the message. */
  readonly turnId: string | null;
}

/** A message of a person. */
export interface UserMessage extends MessageBase {
  readonly role: 'user';
  /** `cancelled`: stopped before it was sent. */
  readonly status: 'sending' | 'queued' | 'sent' | 'failed' | 'cancelled';
  readonly parts: readonly { readonly type: 'text'; readonly text: string }[];
  /** Why it was refused. */
  readonly error: GatewayError | null;
}

/** An answer of the agent. It is shown from the first token or event on. */
export interface AssistantMessage extends MessageBase {
  readonly role: 'assistant';
  readonly status: 'streaming' | 'ended' | 'failed';
  readonly parts: readonly Part[];
  /** `stop`, `cancelled`, `error`, or the agent's own reason; `null` before the end. */
  readonly finishReason: string | null;
  readonly error: GatewayError | null;
}

/** An operator's notice to everyone, or to this session. */
export interface NoticeMessage extends MessageBase {
  readonly role: 'notice';
  readonly status: 'ended';
  readonly parts: readonly Extract<Part, { type: 'notice' }>[];
  /** Never: so that a page can ask each message for its error. */
  readonly error?: undefined;
}

/** A message is immutable: a change replaces the object. */
export type Message = UserMessage | AssistantMessage | NoticeMessage;

export interface SessionActions {
  /** Send a message, and show it at once. */
  readonly send: (content: string, options?: SendOptions) => Turn;
  /** Answer a question of `pending`, as {@link GatewayClient.answer}. */
  readonly answer: GatewayClient['answer'];
  /** Stop a turn, by default the one in flight. */
  readonly stop: (turnId?: string) => void;
  /** Send the message of a turn again, by default the last one; the new answer replaces the old one. `null`: there is none. */
  readonly regenerate: (turnId?: string) => Turn | null;
  /** Show older turns from the gateway's history. Resolves to whether there are more. */
  readonly loadOlder: (options?: { limit?: number }) => Promise<boolean>;
}

/** The state of a session that a page shows: an immutable object. */
export interface SessionState extends SessionActions {
  /** In the order of display. The list is the same object until a message changes. */
  readonly messages: readonly Message[];
  /** `submitted`: sent, but the answer has not started; `error`: the last answer or message failed. */
  readonly status: 'ready' | 'submitted' | 'streaming' | 'error';
  /** The client's state: `connecting`, `open`, `waiting` to reconnect, or permanently `closed`. */
  readonly connection: StateInfo;
  /** The agent's questions to a person that no message has answered yet, oldest first. */
  readonly pending: readonly PendingRequest[];
}

/** One session as shown on a page, for any library that can subscribe to a state. */
export class GatewaySession implements SessionActions {
  constructor(options: SessionOptions);
  /** Read for each connection. */
  options: ConnectOptions;
  /** Call a listener after each change; stays connected until 5 seconds after the last one left. Returns an unsubscriber. */
  readonly subscribe: (listener: () => void) => () => void;
  /** The current state; the same object until it changes. */
  readonly getSnapshot: () => SessionState;
  /** The state on a server, and at first in a page: the given history. */
  readonly getServerSnapshot: () => SessionState;
  readonly send: SessionActions['send'];
  readonly answer: SessionActions['answer'];
  readonly stop: SessionActions['stop'];
  readonly regenerate: SessionActions['regenerate'];
  readonly loadOlder: SessionActions['loadOlder'];
  /** Disconnect now; turns continue. The next subscriber connects again. */
  readonly close: () => void;
}
