// One live session: its state, its frames as they arrive, and what an operator may do.

import { Speeds, byId, counted, duration, element, handle, query, send, state, watch } from './admin-common.js';

const MAX_TURNS = 50; // shown; older ones make room
const page = query('.relay-live');
const list = byId('relay-frames');
const line = byId('relay-state');
const ended = byId('relay-ended');
const speeds = new Speeds();
/** @type {Record<string, string>} how turns end, in words */
const endings = JSON.parse(byId('relay-endings').textContent ?? '');
const ENDS = /** @type {Record<string, string>} */ ({
  kicked: 'All viewers were disconnected, including this page.',
  session_deleted: 'This session was deleted.',
  too_slow: 'This page fell behind.',
  server_restart: 'The gateway process was stopped.',
});

/** @typedef {Record<string, any> & {type: string}} Frame any frame; `any`: its fields depend on its type */

/**
 * A turn on the page: its place, and the part that its next token may go on with.
 *
 * @typedef {{item: HTMLLIElement, kind: string, body: HTMLElement | null}} Turn
 */

/** @type {Map<string, Turn>} */
const turns = new Map();

watch(page.dataset.session ?? '', (/** @type {{session: import('./admin-common.js').Session | null}} */ { session }) => {
  for (const button of document.querySelectorAll('#relay-acts button:not(.relay-danger)')) {
    /** @type {HTMLButtonElement} */ (button).disabled = session === null; // transcripts alone can be deleted
  }
  if (session === null) {
    line.textContent = 'This session is not live.';
    return;
  }
  const speed = speeds.of(session);
  line.textContent = '';
  const mark = element('span', `relay-end relay-${state(session)}`, state(session));
  const facts = [
    `${session.queued.length} queued`,
    ...(session.pending ? [`${session.pending} waiting for a person`] : []),
    ...(session.user ? [`user ${session.user}`] : []),
    counted(session.viewers, 'viewer') + (session.viewers && ended.hidden ? ' (with you)' : ''),
    ...(session.active && speed !== null ? [`${Math.round(speed)} tokens/s`] : []),
    `last activity ${duration(session.idle_seconds)} ago`,
    `started ${duration(session.age_seconds)} ago`,
    counted(session.offset, 'frame'),
  ];
  line.append(mark, ` ${facts.join(' · ')}`);
});

handle('relay-acts', (form, button) => send(form, button.formAction));

query('button', ended).addEventListener('click', follow);
follow();

function follow() {
  ended.hidden = true;
  list.replaceChildren();
  turns.clear();
  const source = new EventSource(page.dataset.events ?? '');
  source.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === 'disconnect' && frame.code === 'unauthorized') {
      source.close();
      follow(); // the login is checked again, and the log is shown again
    } else if (frame.type === 'disconnect') {
      if (!frame.reconnect) source.close();
      query('span', ended).textContent = ENDS[frame.code] ?? `This page was disconnected (${frame.code}).`;
      ended.hidden = frame.reconnect;
    } else {
      atTheEnd(() => show(frame));
    }
  };
}

/** @param {Frame} frame */
function show(frame) {
  switch (frame.type) {
    case 'welcome':
      break;
    case 'snapshot':
      if (frame.turn_id) replace(frame.turn_id, frame.content ?? '');
      if (frame.finish_reason) end(frame.turn_id, frame.error?.code ?? frame.finish_reason);
      break;
    case 'user_message':
      ask(frame);
      break;
    case 'assistant_message':
      if (frame.is_final) end(frame.turn_id, frame.finish_reason === 'stop' ? 'answered' : frame.finish_reason);
      else write(frame.turn_id, 'answer', frame.token);
      break;
    case 'reasoning':
      write(frame.turn_id, 'reasoning', String(frame.token ?? ''));
      break;
    case 'error':
      end(frame.turn_id, frame.code, frame.content);
      break;
    default:
      event(frame);
  }
}

/** @param {string} turnId */
function turn(turnId) {
  const known = turns.get(turnId);
  if (known) return known;
  /** @type {Turn} */
  const made = { item: element('li'), kind: '', body: null };
  list.append(made.item);
  turns.set(turnId, made);
  if (turns.size > MAX_TURNS) {
    const [[oldest, { item }]] = turns;
    item.remove();
    turns.delete(oldest);
  }
  return made;
}

/**
 * @param {string} className
 * @param {string} name
 * @param {string} text
 */
function bubble(className, name, text) {
  const made = element('article', className);
  const body = element('div', '', text);
  made.append(element('h2', '', name), body);
  return { made, body };
}

/** @param {Frame} frame */
function ask(frame) {
  const { turn_id: turnId, offset, type, ...message } = frame;
  const text = typeof message.content === 'string' ? message.content : JSON.stringify({ type, ...message });
  turn(turnId).item.append(bubble('relay-message', 'User', text).made);
}

/**
 * Go on with the turn's last part, or start another one: so reasoning and text keep their order.
 *
 * @param {string} turnId
 * @param {'answer' | 'reasoning'} kind
 * @param {string} text
 */
function write(turnId, kind, text) {
  if (!text) return;
  const shown = turn(turnId);
  if (shown.kind !== kind || shown.body === null) {
    const { made, body } = bubble(`relay-${kind}`, kind === 'answer' ? 'Agent' : 'Reasoning', '');
    shown.kind = kind;
    shown.body = body;
    shown.item.append(made);
  }
  shown.body.append(text);
}

/**
 * Show the whole text of an answer, of which parts may be there.
 *
 * @param {string} turnId
 * @param {string} text
 */
function replace(turnId, text) {
  const shown = turn(turnId);
  for (const part of shown.item.querySelectorAll('.relay-answer')) part.remove();
  shown.kind = '';
  write(turnId, 'answer', text);
}

/**
 * @param {string} turnId
 * @param {string} reason
 */
function end(turnId, reason, words = '') {
  const isGood = reason === 'answered' || reason === 'cancelled';
  const facts = element('p', 'relay-facts');
  const mark = element('span', `relay-end relay-${isGood ? reason : 'failed'}`, endings[reason] ?? reason);
  mark.title = reason;
  facts.append(mark, ` ${words}`);
  if (page.dataset.turn) facts.append(' ', turnLink(turnId, page.dataset.turn));
  turn(turnId).item.append(facts);
}

/**
 * Link to the turn's own page.
 *
 * @param {string} turnId
 * @param {string} address
 */
function turnLink(turnId, address) {
  const link = element('a', '', 'Open turn');
  link.href = address.replace('TURN', encodeURIComponent(turnId));
  return link;
}

/** @param {Frame} frame */
function event(frame) {
  const { turn_id: turnId, offset, ...shown } = frame;
  const made = element('p', 'relay-event', JSON.stringify(shown));
  if (!turnId) {
    list.append(made);
    return;
  }
  const known = turn(turnId);
  known.item.append(made);
  known.kind = '';
}

/**
 * Change the page, and stay at its end if the reader is there.
 *
 * @param {() => void} change
 */
function atTheEnd(change) {
  const root = document.documentElement;
  const isThere = root.scrollHeight - root.scrollTop - root.clientHeight < 60;
  change();
  if (isThere) root.scrollTop = root.scrollHeight;
}
