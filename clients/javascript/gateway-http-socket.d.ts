import type { ConnectOptions } from './gateway-client.js';

/** The address of a session's REST calls, derived from that of its socket; `null`: not the path of a socket. */
export function restAddress(url: string | URL): URL | null;

/**
 * The parts of a WebSocket that the client uses, over plain HTTP: server-sent events and REST. The client loads it itself;
 * `connect({ WebSocket: HttpSocket })` uses only HTTP, if no ticket is needed.
 */
export class HttpSocket {
  /** `ticket` is called for every request. */
  constructor(url: string, protocols?: string[], ticket?: ConnectOptions['ticket']);
  onmessage: ((event: { data: string }) => void) | null;
  /** Called with the close code that a WebSocket would have; 1006: cut off, or not opened. */
  onclose: ((event: { code: number }) => void) | null;
  send(text: string): void;
  close(): void;
}
