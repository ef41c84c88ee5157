/**
 * The counterpart of a WebSocket over plain HTTP, for networks that block WebSockets: it receives server-sent events and
 * sends over REST. `gateway-client.js` loads it after two sockets in a row could not be opened.
 *
 * It has the parts of a WebSocket that the client uses, and the same frames, so the client's guarantees hold over both: the
 * event stream has the log's cursor, and a message its id. Types: `gateway-http-socket.d.ts`.
 *
 * @module gateway-http-socket
 */

const SOCKET_PATH = /\/(?:api\/v1\/)?ws\/([^/]+)\/?$/;
const UNAUTHORIZED = 401;
const FORBIDDEN = 403;
const GONE = 204; // the session was deleted
const LOST = 1006; // as for a WebSocket that ends without a close frame
const ANSWER_LIMIT_MS = 20_000;

/** @typedef {Record<string, any> & {type: string}} Frame any frame; `any`: its fields depend on its type */
/** @typedef {import('./gateway-client.js').ConnectOptions['ticket']} Ticket */
/** @typedef {Omit<RequestInit, 'headers'> & {headers?: Record<string, string>}} Options */

/** The close code of a socket that corresponds to this status of a request. @param {number} status */
const closeCodeOf = (status) => ({ [UNAUTHORIZED]: 4401, [FORBIDDEN]: 4403, [GONE]: 1000 })[status] ?? LOST;

/** The address of a session's REST calls, derived from that of its socket; `null`: not the path of a socket. @param {string | URL} url */
export function restAddress(url) {
  const address = new URL(url);
  if (!SOCKET_PATH.test(address.pathname)) return null;
  address.protocol = address.protocol.replace('ws', 'http');
  address.pathname = address.pathname.replace(SOCKET_PATH, '/api/v1/sessions/$1');
  return address;
}

/** One session over one event stream, until it ends. */
export class HttpSocket {
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number}) => void) | null} */
  onclose = null;
  #address;
  #ticket;
  #leaving = new AbortController();
  #sent = Promise.resolve(); // messages are sent one after another, so that they arrive in order
  #position = { epoch: '', offset: -1 };
  #newest = Infinity; // the log's newest offset at first: an earlier comment does not show whether frames were missed

  /** @param {string} url the socket's @param {string[]} [protocols] @param {Ticket} [ticket] called for every request */
  constructor(url, protocols, ticket) {
    const address = restAddress(url);
    if (!address) throw new TypeError(`No session's path: ${url}`);
    this.#address = address;
    this.#ticket = ticket;
    void this.#listen();
  }

  /** @param {string} text a frame of the client */
  send(text) {
    const frame = JSON.parse(text);
    const request = { cancel: this.#cancel, history: this.#readHistory }[/** @type {string} */ (frame.type)] ?? this.#post;
    const sent = () => request.call(this, frame).catch(() => this.#end(LOST));
    if (frame.type === 'history') void sent();
    else this.#sent = this.#sent.then(sent);
  }

  close() {
    this.onmessage = this.onclose = null;
    this.#leaving.abort();
  }

  // Frames from the gateway.

  async #listen() {
    const { searchParams } = this.#address;
    const [epoch, offset] = [searchParams.get('epoch') ?? '', searchParams.get('offset')];
    /** @type {Record<string, string>} */
    const headers = { Accept: 'text/event-stream' };
    if (epoch || offset !== null) headers['Last-Event-ID'] = `${epoch}:${offset ?? ''}`;
    let code = LOST;
    try {
      const response = await this.#fetch('events', { headers });
      if (response.status === 200 && response.body) await this.#read(response.body);
      else code = closeCodeOf(response.status);
    } catch {
      // no connection, or it was cut
    }
    this.#end(code);
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const decoder = new TextDecoder();
    const reader = body.getReader();
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (text + decoder.decode(part.value, { stream: true })).split('\n\n');
      text = /** @type {string} */ (events.pop());
      for (const event of events) this.#receive(event);
    }
  }

  /** @param {string} event */
  #receive(event) {
    let data = '';
    for (const line of event.split('\n')) {
      if (line.startsWith('data:')) data += line.slice(5);
      else if (line.startsWith('id:')) this.#moveTo(line.slice(3).trim());
    }
    if (!data) return this.#beat();
    if (this.#newest === Infinity) this.#newest = JSON.parse(data).offset ?? Infinity; // `welcome` is the first
    this.onmessage?.({ data });
  }

  /** @param {string} id */
  #moveTo(id) {
    const end = id.lastIndexOf(':');
    if (end > 0) this.#position = { epoch: id.slice(0, end), offset: Number(id.slice(end + 1)) };
  }

  /** A comment shows that the stream is alive; at the end of the log it corresponds to a socket's `ping`. */
  #beat() {
    const isAtEnd = this.#position.offset >= this.#newest;
    this.#say(isAtEnd ? { type: 'ping', ...this.#position } : { type: 'comment' });
  }

  /** @param {Frame} frame */
  #say(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** @param {number} code */
  #end(code) {
    const { onclose } = this;
    this.close();
    onclose?.({ code });
  }

  // Frames to the gateway.

  /** @param {Frame} message */
  async #post(message) {
    await this.#ask('messages', { method: 'POST', body: JSON.stringify(message) }, 'accepted', message.client_message_id);
  }

  /** @param {Frame} frame */
  async #cancel({ type, ...fields }) {
    await this.#ask('cancel', { method: 'POST', body: JSON.stringify(fields) }, 'cancel_ack');
  }

  /** @param {Frame} frame */
  async #readHistory({ before, limit, client_message_id }) {
    const query = new URLSearchParams({ before, limit }).toString();
    await this.#ask(`turns?${query}`, {}, 'history', client_message_id);
  }

  /**
   * Make a request; its response is the frame that a socket would get.
   *
   * @param {string} path
   * @param {Options} options
   * @param {string} type of the frame
   * @param {string} [id] `client_message_id` of the message that it answers
   */
  async #ask(path, options, type, id) {
    const limit = setTimeout(() => this.#end(LOST), ANSWER_LIMIT_MS);
    this.#leaving.signal.addEventListener('abort', () => clearTimeout(limit));
    const response = await this.#fetch(path, { ...options, headers: { 'Content-Type': 'application/json' } });
    const isKnown = response.headers.get('content-type')?.startsWith('application/json') ?? false;
    const answer = isKnown ? await response.json() : {};
    clearTimeout(limit);
    const named = id === undefined ? answer : { ...answer, client_message_id: id };
    if (response.ok && isKnown) this.#say({ ...named, type });
    else if (answer.type === 'error') this.#say(named);
    else this.#end(closeCodeOf(response.status));
  }

  /** @param {string} path @param {Options} options */
  async #fetch(path, { headers = {}, ...options }) {
    const [name, query] = path.split('?');
    const url = new URL(this.#address);
    url.pathname += `/${name}`;
    for (const parameter of ['epoch', 'offset']) url.searchParams.delete(parameter);
    for (const [parameter, value] of new URLSearchParams(query)) url.searchParams.set(parameter, value);
    const ticket = await this.#ticket?.();
    if (ticket) headers.Authorization = `Bearer ${ticket}`;
    const { signal } = this.#leaving;
    // Without a ticket the credential is a cookie, which a socket of another origin would present, too.
    return fetch(url, { ...options, headers, signal, cache: 'no-store', credentials: ticket ? 'same-origin' : 'include' });
  }
}
