// The list of live sessions, kept current.

import { Speeds, byId, counted, duration, element, handle, query, send, state, watch } from './admin-common.js';

const ORDER = ['cancelling', 'running', 'queued', 'idle'];
const page = query('.relay-live');
const body = byId('relay-sessions');
const summary = byId('relay-summary');
const filter = /** @type {HTMLInputElement} */ (byId('relay-filter'));
const fold = byId('relay-fold');
const speeds = new Speeds();
let isUnfolded = false;

/** @typedef {import('./admin-common.js').Session} Session */
/** @typedef {Session & {state: string, speed: number | null}} Row */

/** @type {Map<string, HTMLTableRowElement>} */
const rows = new Map();
/** @type {Row[]} */
let sessions = [];

watch(page.dataset.sessions ?? '', (/** @type {{sessions: Session[], is_all: boolean}} */ found) => {
  sessions = found.sessions
    .map((session) => ({ ...session, state: state(session), speed: speeds.of(session) }))
    .sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.idle_seconds - b.idle_seconds);
  speeds.keep(sessions);
  byId('relay-more').hidden = found.is_all;
  show();
});

filter.addEventListener('input', show);

fold.addEventListener('click', () => {
  isUnfolded = !isUnfolded;
  show();
});

handle('relay-notice', async (form) => {
  if (await send(form, form.action)) form.reset();
});

function show() {
  const working = sessions.filter((session) => session.state !== 'idle').length;
  const viewers = sessions.reduce((sum, session) => sum + session.viewers, 0);
  summary.textContent = `${counted(sessions.length, 'session')}, ${working} active, ${counted(viewers, 'viewer')}`;
  const words = filter.value.trim();
  const shown = sessions.filter((session) => session.session_id.includes(words) || session.user.includes(words));
  const idle = shown.filter((session) => session.state === 'idle').length;
  fold.hidden = idle === 0 || words !== '';
  fold.textContent = `${isUnfolded ? 'Hide' : 'Show'} ${counted(idle, 'idle session')}`;
  fold.ariaExpanded = String(isUnfolded);
  const names = new Set(shown.map((session) => session.session_id));
  for (const [name, row] of rows) {
    if (!names.has(name)) {
      row.remove();
      rows.delete(name);
    }
  }
  shown.forEach((session, place) => {
    const row = rows.get(session.session_id) ?? newRow(session);
    fill(row, session);
    row.hidden = session.state === 'idle' && !isUnfolded && words === '';
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
  });
}

/** @param {Session} session */
function newRow(session) {
  const row = element('tr');
  const name = element('th', 'field-session');
  const link = element('a', '', session.session_id);
  link.href = session.url;
  name.append(link);
  name.scope = 'row';
  const cell = element('td');
  cell.append(element('span'));
  row.append(name, element('td', 'relay-name'), cell, element('td'), ...Array.from({ length: 6 }, () => element('td', 'relay-number')));
  rows.set(session.session_id, row);
  return row;
}

/**
 * @param {HTMLTableRowElement} row
 * @param {Row} session
 */
function fill(row, session) {
  const [, user, , error] = row.children;
  user.textContent = session.user;
  error.textContent = session.last_error ? `${session.last_error.words}, ${ago(session.last_error.at)}` : '';
  const mark = query('span', row);
  mark.className = `relay-end relay-${session.state}`;
  mark.textContent = session.state;
  const numbers = [
    session.queued.length,
    session.pending,
    session.viewers,
    session.speed === null || session.state === 'idle' ? '' : Math.round(session.speed),
    duration(session.idle_seconds),
    duration(session.age_seconds),
  ];
  numbers.forEach((number, place) => { row.children[place + 4].textContent = String(number); });
}

/** @param {string} moment in ISO 8601 */
function ago(moment) {
  return `${duration(Math.max(0, (Date.now() - Date.parse(moment)) / 1000))} ago`;
}
