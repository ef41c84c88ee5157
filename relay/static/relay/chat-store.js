/**
 * The reader's own conversations: kept by the gateway if it knows their owner, otherwise by this browser.
 *
 * @module chat-store
 */

const KEY = 'gateway-conversations';
const MAX_KEPT = 200;
const TITLE_CHARS = 60;
const PAGE_LIMIT = 50;

/** @typedef {{id: string, title: string, updated: string}} Kept `updated`: RFC 3339 */
/** @typedef {{list: (query: string) => Promise<Kept[]>, note: (id: string, title: string, updated?: string | null) => void, rename: (id: string, title: string) => Promise<void>, remove: (id: string) => Promise<void>, erases: boolean}} Store `note`: something was said; `erases`: removing erases the conversation itself */

/** A title from a message. @param {string} message */
export function titleOf(message) {
  const words = message.trim().split(/\s+/).join(' ');
  return words.length > TITLE_CHARS ? `${words.slice(0, TITLE_CHARS - 1)}…` : words;
}

/** This browser's own list. @returns {Store} */
export function browserStore() {
  return {
    erases: false,
    list: async (query) => load().filter(({ title }) => title.toLowerCase().includes(query.trim().toLowerCase())),
    note: (id, title, updated) => {
      const known = load().find((kept) => kept.id === id);
      const noted = { id, title: known?.title || title, updated: updated ?? new Date().toISOString() };
      save([noted, ...load().filter((kept) => kept.id !== id)].sort((a, b) => b.updated.localeCompare(a.updated)));
    },
    rename: async (id, title) => save(load().map((kept) => (kept.id === id ? { ...kept, title } : kept))),
    remove: async (id) => save(load().filter((kept) => kept.id !== id)),
  };
}

/** The gateway's list of a subject's sessions. @param {string} base @param {() => Promise<string | null>} credential @returns {Store} */
export function gatewayStore(base, credential) {
  const request = async (/** @type {string} */ path, /** @type {RequestInit} */ options = {}) => {
    const shown = await credential();
    const headers = { 'Content-Type': 'application/json', ...(shown ? { Authorization: `Bearer ${shown}` } : {}) };
    const response = await fetch(`${base}/api/v1/${path}`, { ...options, headers });
    if (!response.ok) throw new Error(`The server refused it (${response.status}).`);
    return response.status === 204 ? null : response.json();
  };
  return {
    erases: true,
    list: async (query) => {
      const { sessions } = await request(`me/sessions?limit=${PAGE_LIMIT}&q=${encodeURIComponent(query.trim())}`);
      return sessions.map((/** @type {any} */ { session_id, title, updated }) => ({ id: session_id, title, updated }));
    },
    note: () => {},
    rename: async (id, title) => void (await request(`sessions/${encodeURIComponent(id)}`, { method: 'PATCH', body: JSON.stringify({ title }) })),
    remove: async (id) => void (await request(`sessions/${encodeURIComponent(id)}`, { method: 'DELETE' })),
  };
}

/** @returns {Kept[]} */
function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '[]');
  } catch {
    return []; // storage is off, or not ours
  }
}

/** @param {Kept[]} kept */
function save(kept) {
  try {
    localStorage.setItem(KEY, JSON.stringify(kept.slice(0, MAX_KEPT)));
  } catch {
    // storage is off or full: the list stays as it was
  }
}
