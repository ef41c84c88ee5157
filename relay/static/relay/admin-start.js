// The start page: the gateway's processes, kept current.

import { byId, counted, duration, element, query, watch } from './admin-common.js';

const SILENT_SECONDS = 5; // a process reports within one second, every second
const body = byId('relay-processes');
const checks = byId('relay-checks');
const summary = byId('relay-summary');

/**
 * A process, as it reports itself.
 *
 * @typedef {object} Process
 * @property {string} name
 * @property {string} version
 * @property {number} uptime_seconds
 * @property {number} sockets
 * @property {number} event_streams
 * @property {number} running_turns
 * @property {number} cpu
 * @property {boolean} is_draining
 * @property {number} silent_seconds
 */

watch(query('.relay-live').dataset.processes ?? '', (
  /** @type {{processes: Process[], checks: Record<string, {ok: boolean, detail: string}>}} */ found,
) => {
  const { processes } = found;
  const sum = (/** @type {'sockets' | 'running_turns'} */ name) => processes.reduce((total, each) => total + each[name], 0);
  const facts = [
    counted(processes.length, 'process').replace('processs', 'processes'),
    counted(sum('running_turns'), 'running turn'),
    counted(sum('sockets'), 'socket'),
  ];
  summary.textContent = `${facts.join(', ')}.`;
  checks.replaceChildren(...Object.entries(found.checks).map(([name, check]) => checked(name, check)));
  body.replaceChildren(...processes.map(row));
});

/**
 * @param {string} name
 * @param {{ok: boolean, detail: string}} check
 */
function checked(name, { ok, detail }) {
  const item = element('li');
  item.append(element('span', `relay-end relay-${ok ? 'answered' : 'failed'}`, `${name} ${ok ? 'ok' : 'failed'}`));
  item.append(` ${ok ? '' : detail}`);
  return item;
}

/** @param {Process} process */
function row(process) {
  const made = element('tr');
  const name = element('th', '', process.name);
  name.scope = 'row';
  const numbers = [
    process.running_turns,
    process.sockets,
    process.event_streams,
    `${Math.round(process.cpu * 100)} %`,
    duration(process.uptime_seconds),
  ];
  const state = element('td');
  state.append(mark(process));
  made.append(name, element('td', '', process.version));
  made.append(...numbers.map((number) => element('td', 'relay-number', String(number))), state);
  return made;
}

/** @param {Process} process */
function mark({ silent_seconds: silent, is_draining: isDraining }) {
  if (silent > SILENT_SECONDS) return element('span', 'relay-end relay-failed', `silent for ${duration(silent)}`);
  if (isDraining) return element('span', 'relay-end relay-cancelled', 'draining');
  return element('span', 'relay-end relay-answered', 'running');
}
