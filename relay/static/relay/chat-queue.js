/**
 * How many messages are ahead of each queued one, as far as a client can know.
 *
 * @module chat-queue
 */

export class Queue {
  /** @type {(string | null)[]} turn ids in order; `null`: a message of another tab, whose id is not known */
  #ids = [];
  /** @type {Set<string>} still in their place, but not run any more */
  #removed = new Set();

  /** @param {string[]} ids all queued turns, as listed by the server */
  reset(ids) {
    this.#ids = [...ids];
  }

  /** @param {string} id @param {number} position the number of turns ahead of it when it was accepted */
  add(id, position) {
    if (this.#ids.includes(id)) return;
    while (this.#ids.length < position) this.#ids.push(null);
    this.#ids.splice(position, 0, id);
  }

  /** It will not be run. @param {string} id */
  remove(id) {
    this.#removed.add(id);
  }

  /** A turn is running or has ended: neither it nor the turns ahead of it are queued any longer. @param {string} id */
  begin(id) {
    const index = this.#ids.indexOf(id);
    if (index >= 0) this.#ids.splice(0, index + 1);
    else if (this.#ids[0] === null) this.#ids.shift();
    this.#removed.delete(id);
  }

  /** @param {string} id @returns {number} the number that will run before it */
  ahead(id) {
    const index = this.#ids.indexOf(id);
    return this.#ids.slice(0, Math.max(index, 0)).filter((before) => before === null || !this.#removed.has(before)).length;
  }

  /** @param {(id: string) => boolean} isShown @returns {number} the number that is not on the page */
  countOthers(isShown) {
    return this.#ids.filter((id) => id === null || !isShown(id)).length;
  }
}
