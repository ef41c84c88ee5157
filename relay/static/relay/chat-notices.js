/**
 * An operator's notices, kept across a reload of this tab, because no log has them.
 *
 * @module chat-notices
 */

const MAX_NOTICES = 20;

/** @typedef {{content: string, after: string | null}} Notice `after`: the turn below which it came, or `null` */

/** @param {string} sessionId */
export function noticesOf(sessionId) {
  const key = `gateway-notices:${sessionId}`;

  /** @returns {Notice[]} */
  const all = () => {
    try {
      return JSON.parse(sessionStorage.getItem(key) ?? '[]');
    } catch {
      return []; // storage is off, or not ours
    }
  };

  return {
    all,
    /** @param {Notice} notice */
    add: (notice) => {
      try {
        sessionStorage.setItem(key, JSON.stringify([...all(), notice].slice(-MAX_NOTICES)));
      } catch {
        // storage is off or full: a reload loses it
      }
    },
  };
}
