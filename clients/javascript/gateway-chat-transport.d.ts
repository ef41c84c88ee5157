import type { ConnectOptions } from './gateway-client.js';

export interface TransportOptions extends Pick<ConnectOptions, 'base' | 'WebSocket' | 'http'> {
  /** Called for every connection, with the chat's id; its result is presented to the gateway. */
  ticket?: (chatId: string) => string | null | undefined | Promise<string | null | undefined>;
  /** Let tools ask for an approval: `ai` from version 6 on. Default `false`. */
  approvals?: boolean;
}

/** The request that `useChat` makes for a message; headers are ignored. */
export interface SendRequest {
  chatId: string;
  /** The conversation; its last message is sent. */
  messages: any[];
  trigger: 'submit-message' | 'regenerate-message';
  messageId?: string | undefined;
  abortSignal?: AbortSignal | undefined;
  headers?: unknown;
  /** Sent to the agent beside the message. */
  body?: object;
  metadata?: unknown;
}

export interface ReconnectRequest {
  chatId: string;
  abortSignal?: AbortSignal | undefined;
  headers?: unknown;
  body?: object;
  metadata?: unknown;
}

/** A `Chat` of `@ai-sdk/react`, `@ai-sdk/vue`, `@ai-sdk/svelte` or `@ai-sdk/angular`. */
export interface FollowedChat {
  readonly id: string;
  readonly status: string;
  messages: any[];
  resumeStream(): Promise<void>;
}

/** The chunks of a UI message stream that the gateway writes; with `approvals` also `tool-approval-request`. */
export type Chunk =
  | { type: 'start'; messageId: string }
  | { type: 'start-step' | 'finish-step' }
  | { type: 'text-start' | 'text-end' | 'reasoning-start' | 'reasoning-end'; id: string }
  | { type: 'text-delta' | 'reasoning-delta'; id: string; delta: string }
  | { type: 'tool-input-available'; toolCallId: string; toolName: string; input: unknown; dynamic: true }
  | { type: 'tool-output-available'; toolCallId: string; output: unknown; dynamic: true }
  | { type: 'tool-output-error'; toolCallId: string; errorText: string; dynamic: true }
  | { type: `data-${string}`; data: unknown; transient?: boolean }
  | { type: 'finish'; finishReason: 'stop' | 'length' | 'content-filter' | 'tool-calls' | 'other' }
  | { type: 'abort'; reason: string }
  | { type: 'error'; errorText: string };

/** A `ChatTransport` of `ai` 5, 6 and 7: each chat is a session of the gateway. */
export class GatewayChatTransport {
  constructor(options?: TransportOptions);
  readonly resumeStreamIsReplay: boolean;
  /** Send the chat's last message. An abort, as by the chat's `stop()`, stops the turn. */
  sendMessages(request: SendRequest): Promise<ReadableStream<Chunk>>;
  /** Return the turn in flight from its first chunk; `null` if there is none. */
  reconnectToStream(request: ReconnectRequest): Promise<ReadableStream<Chunk> | null>;
  /** Show the turns that this page did not send, each with its question; a turn in flight from its start. */
  follow(chat: FollowedChat): () => void;
  /** Leave all sessions; their turns continue. */
  close(): void;
}
