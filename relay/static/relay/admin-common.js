// What the live pages of the admin have in common: fetching again and again, sending a form, saying times.

const LOOK_MS = 1000;
const OLD = 'Below is what was last seen.';
const REASONS = { store_unavailable: 'The store does not answer at the moment.' }; // clients are told of their message

/** Call `show` with what `url` gives, each second while the page is seen; say so when it gives nothing. */
export function watch(url, show) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch(url, { headers: { Accept: 'application/json' } });
        if (response.status === 403) return sayTrouble('You are logged out, or may not see this. Load the page again.');
        const answer = await response.json();
        if (response.ok) show(answer);
        sayTrouble(response.ok ? '' : `${REASONS[answer.code] ?? answer.content} ${OLD}`);
      } catch {
        sayTrouble(`The gateway cannot be reached at the moment. ${OLD}`);
      }
    }
    setTimeout(look, LOOK_MS);
  };
  look();
}

/** Say what is wrong: aloud once, not each second. */
function sayTrouble(words) {
  const trouble = document.getElementById('relay-trouble');
  if (trouble.textContent !== words) trouble.textContent = words;
  trouble.hidden = !words;
}

/** Send a form without leaving the page, and say beside it what came of it. */
export async function send(form, url) {
  const said = form.querySelector('.relay-said');
  said.textContent = '…';
  try {
    const response = await fetch(url, { method: 'POST', body: new FormData(form) });
    const { words, content, detail } = await response.json();
    said.textContent = words ?? content ?? detail ?? '';
    return response.ok;
  } catch {
    said.textContent = 'That did not reach the gateway. Try again.';
    return false;
  }
}

export function counted(number, noun) {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}

export function duration(seconds) {
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

export function state(session) {
  return session.active?.status ?? (session.queued.length ? 'queued' : 'idle');
}

/** How many frames a second each log has grown by since the last look: about its tokens a second. */
export class Speeds {
  #before = new Map();

  of(session) {
    const name = `${session.session_id} ${session.epoch}`;
    const now = performance.now();
    const before = this.#before.get(name);
    this.#before.set(name, { offset: session.offset, at: now });
    if (!before || now <= before.at) return null;
    return ((session.offset - before.offset) * 1000) / (now - before.at);
  }

  /** Forget sessions that are gone. */
  keep(sessions) {
    const names = new Set(sessions.map((session) => `${session.session_id} ${session.epoch}`));
    for (const name of this.#before.keys()) if (!names.has(name)) this.#before.delete(name);
  }
}

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
