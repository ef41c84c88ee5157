import type { GatewaySession, SessionOptions, SessionState } from './gateway-session.js';

/**
 * A session of the gateway in a React component, which is rendered again when the session's state changes.
 *
 * @param id the session's id; or a session of your own that several components share.
 * @param options the client's options. Another `id` or `base` creates another session; a `ticket` may change.
 */
export function useGatewaySession(id: string | GatewaySession, options?: SessionOptions): SessionState;
