/** Every kind of event that the client tells its page; `described.ts` holds this list to the `.d.ts`. */
export const KINDS = /** @type {const} */ ([
  'state', 'welcome', 'snapshot', 'user_message', 'token', 'final', 'error', 'refused', 'accepted', 'cancel_ack',
  'notice', 'event', 'disconnect', 'pending', 'pending_resolved',
]);
