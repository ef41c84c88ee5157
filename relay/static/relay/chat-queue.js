/**
 * How many messages are before each one that waits, as far as a client can know.
 *
 * @module chat-queue
 */

export class Queue {
  /** @type {(string | null)[]} turn ids in order; `null`: a message of another tab, whose id is not known */
  #ids = [];
  /** @type {Set<string>} still in their place, but not run any more */
  #removed = new Set();

  /** @param {string[]} ids all that wait, as the server lists them */
  reset(ids) {
    this.#ids = [...ids];
  }

  /** @param {string} id @param {number} position so many were before it when it was accepted */
  add(id, position) {
    if (this.#ids.includes(id)) return;
    while (this.#ids.length < position) this.#ids.push(null);
    this.#ids.splice(position, 0, id);
  }

  /** It will not be run when its time comes. @param {string} id */
  remove(id) {
    this.#removed.add(id);
  }

  /** A turn runs or has ended: it waits no more, nor does what was before it. @param {string} id */
  begin(id) {
    const index = this.#ids.indexOf(id);
    if (index >= 0) this.#ids.splice(0, index + 1);
    else if (this.#ids[0] === null) this.#ids.shift();
    this.#removed.delete(id);
  }

  /** @param {string} id @returns {number} those that will run before it */
  ahead(id) {
    const index = this.#ids.indexOf(id);
    return this.#ids.slice(0, Math.max(index, 0)).filter((before) => before === null || !this.#removed.has(before)).length;
  }

  /** @param {(id: string) => boolean} isShown @returns {number} those that the page shows nowhere */
  countOthers(isShown) {
    return this.#ids.filter((id) => id === null || !isShown(id)).length;
  }
}
