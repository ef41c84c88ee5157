/**
 * The way in: the credential that a connection shows, and where a reader logs in.
 *
 * @module chat-access
 */

/** @typedef {{access: string, user: string, login: string, credential: string}} Settings as the page's body has them */

const REFUSED = [401, 403];

export class Access {
  #settings;
  #sessionId;

  /** @param {DOMStringMap} dataset of the page's body @param {string} sessionId */
  constructor({ access = 'open', user = '', login = '', credential = '' }, sessionId) {
    this.#settings = /** @type {Settings} */ ({ access, user, login, credential });
    this.#sessionId = sessionId;
  }

  /** What the client asks before every connection; `undefined`: this page has no credential to show. */
  get ticket() {
    return this.#settings.credential ? () => this.credential() : undefined;
  }

  /** Does the gateway know whose sessions it keeps, and would it tell this page? */
  get hasOwnSessions() {
    const { access, user, credential } = this.#settings;
    return (access === 'session' && user !== '') || (access === 'jwt' && credential !== '');
  }

  /** Where to log in and come back from; `null`: the page knows no such place. */
  get loginAddress() {
    if (!this.#settings.login) return null;
    const address = new URL(this.#settings.login, location.href);
    address.searchParams.set('next', `${location.pathname}${location.search}`);
    return address.href;
  }

  /** Why a reader whom the gateway does not admit cannot be helped here. */
  get isUnfinished() {
    return ['ticket', 'jwt'].includes(this.#settings.access) && !this.#settings.credential;
  }

  /**
   * Ask the host for a credential. `null`: the host does not know the reader, and the gateway will say so.
   *
   * @returns {Promise<string | null>}
   */
  async credential() {
    if (!this.#settings.credential) return null;
    const headers = { 'Content-Type': 'application/json', Accept: 'application/json', 'X-CSRFToken': cookie('csrftoken') };
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
