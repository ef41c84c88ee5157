/**
 * Access: the credential that a connection presents, and where a reader logs in.
 *
 * @module chat-access
 */

/** @typedef {{access: string, user: string, login: string, credential: string, csrf: string}} Settings as the page's body has them */

const REFUSED = [401, 403];

export class Access {
  #settings;
  #sessionId;

  /** @param {DOMStringMap} dataset of the page's body @param {string} sessionId */
  constructor({ access = 'open', user = '', login = '', credential = '', csrf = '' }, sessionId) {
    this.#settings = /** @type {Settings} */ ({ access, user, login, credential, csrf });
    this.#sessionId = sessionId;
  }

  /** The callback that the client calls before every connection; `undefined`: this page has no credential. */
  get ticket() {
    return this.#settings.credential ? () => this.credential() : undefined;
  }

  /** Does the gateway know the owners of sessions, and would it list them for this page? */
  get hasOwnSessions() {
    const { access, user, credential } = this.#settings;
    return (access === 'session' && user !== '') || (access === 'jwt' && credential !== '');
  }

  /** Where to log in, with a way back; `null`: the page knows no such address. */
  get loginAddress() {
    if (!this.#settings.login) return null;
    const { href, pathname, search } = parent.location; // in a frame: the page around it, of the same origin
    const address = new URL(this.#settings.login, href);
    address.searchParams.set('next', `${pathname}${search}`);
    return address.href;
  }

  /** Why this page cannot help a reader that the gateway does not admit. */
  get isUnfinished() {
    return ['ticket', 'jwt'].includes(this.#settings.access) && !this.#settings.credential;
  }

  /**
   * Request a credential from the host. `null`: the host does not know the reader, and the gateway will say so.
   *
   * @returns {Promise<string | null>}
   */
  async credential() {
    if (!this.#settings.credential) return null;
    const csrf = this.#settings.csrf || cookie('csrftoken');
    const headers = { 'Content-Type': 'application/json', Accept: 'application/json', 'X-CSRFToken': csrf };
    const body = JSON.stringify({ session_id: this.#sessionId });
    const response = await fetch(this.#settings.credential, { method: 'POST', headers, body, cache: 'no-store' });
    if (REFUSED.includes(response.status)) return null;
    if (!response.ok) throw new Error(`no credential: ${response.status}`);
    const { ticket, token } = await response.json();
    return ticket ?? token ?? null;
  }
}

/** @param {string} name */
function cookie(name) {
  const found = document.cookie.split('; ').find((pair) => pair.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : '';
}
