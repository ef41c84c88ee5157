/**
 * Messages of this tab that the server has not started to answer, kept across a reload.
 *
 * Those that the server never confirmed are sent again with the same id, which is safe; the others are only shown.
 *
 * @module chat-outbox
 */

/** @typedef {{id: string, content: string, turnId?: string, replaces?: string}} Item */

/** @param {string} sessionId */
export function outboxOf(sessionId) {
  const key = `gateway-outbox:${sessionId}`;

  /** @returns {Item[]} */
  const load = () => {
    try {
      return JSON.parse(sessionStorage.getItem(key) ?? '[]');
    } catch {
      return []; // storage is off, or not ours
    }
  };

  /** @param {Item[]} items */
  const save = (items) => {
    try {
      if (items.length) sessionStorage.setItem(key, JSON.stringify(items));
      else sessionStorage.removeItem(key);
    } catch {
      // storage is off or full: a reload may lose unsent messages, but nothing else
    }
  };

  return {
    unaccepted: () => load().filter((item) => !item.turnId),
    accepted: () => /** @type {Required<Item>[]} */ (load().filter((item) => item.turnId)),
    /** @param {string} id @param {string} content @param {string} [replaces] */
    add: (id, content, replaces) => save([...load().filter((item) => item.id !== id), { id, content, replaces }]),
    /** @param {string} id */
    replaces: (id) => load().find((item) => item.id === id)?.replaces,
    /** @param {string} id @param {string} turnId */
    accept: (id, turnId) => save(load().map((item) => (item.id === id ? { ...item, turnId } : item))),
    /** @param {string} id the message's or the turn's */
    remove: (id) => {
      const items = load();
      if (items.length) save(items.filter((item) => item.id !== id && item.turnId !== id));
    },
  };
}
