/**
 * Which turns were replaced by others, kept across reloads in this browser, because the history does not say.
 *
 * @module chat-replaced
 */

const MAX_TURNS = 100;

/** @param {string} sessionId */
export function replacedOf(sessionId) {
  const key = `gateway-replaced:${sessionId}`;

  /** @returns {string[]} */
  const all = () => {
    try {
      return JSON.parse(localStorage.getItem(key) ?? '[]');
    } catch {
      return []; // storage is off, or not ours
    }
  };

  return {
    /** @param {string} turnId */
    has: (turnId) => all().includes(turnId),
    /** @param {string} turnId */
    add: (turnId) => {
      try {
        localStorage.setItem(key, JSON.stringify([...new Set([...all(), turnId])].slice(-MAX_TURNS)));
      } catch {
        // storage is off or full: a reload shows the turn again
      }
    },
  };
}
