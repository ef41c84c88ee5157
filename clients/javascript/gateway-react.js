/**
 * A session of the gateway as a React hook. It needs `gateway-session.js` and `gateway-client.js` beside it, and React 18
 * or newer. Types: `gateway-react.d.ts`; usage: `docs/client.md`.
 *
 * @module gateway-react
 */

import { useEffect, useMemo, useSyncExternalStore } from 'react';

import { GatewaySession } from './gateway-session.js';

/** @type {typeof import('./gateway-react.js').useGatewaySession} */
export function useGatewaySession(id, options = {}) {
  const session = useMemo(
    () => (typeof id === 'string' ? new GatewaySession({ ...options, sessionId: id }) : id),
    [id, options.base],
  );
  useEffect(() => {
    if (typeof id === 'string') session.options.ticket = options.ticket; // that of the newest render
  });
  return useSyncExternalStore(session.subscribe, session.getSnapshot, session.getServerSnapshot);
}
