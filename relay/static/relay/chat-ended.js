/**
 * An ended turn of the history, as a view: its text and events in their original order.
 *
 * @module chat-ended
 */

/** @typedef {import('./gateway-client.js').EndedTurn} EndedTurn */
/** @typedef {import('./chat-turn.js').TurnView} TurnView */

const ENDED_WORDS = new Map([
  ['stop', ''],
  ['tool_calls', ''],
  ['interrupt', ''],
  ['cancelled', 'Stopped.'],
  ['length', 'The answer reached the length limit.'],
]);

/** How a turn ended, if that needs to be said. @param {string} finishReason */
export function endedWords(finishReason) {
  return ENDED_WORDS.get(finishReason) ?? `Ended: ${finishReason}.`;
}

/** @param {TurnView} view an empty one @param {EndedTurn} turn @param {(event: EndedTurn['events'][0]['event']) => void} addEvent */
export function showAnswer(view, { answer, events }, addEvent) {
  const codePoints = events.length ? [...answer] : [];
  for (const { position, event } of events) {
    view.show(codePoints.slice(0, position).join(''));
    addEvent(event);
  }
  view.show(answer);
}


/** The original message: the text of a `user_message`, or the JSON of another type. @param {string} text @returns {{type: string, [field: string]: any}} */
export function keptMessage(text) {
  if (!text.startsWith('{')) return { type: 'user_message', content: text };
  try {
    const message = JSON.parse(text);
    if (typeof message.type === 'string' && message.type !== 'user_message') return message;
  } catch {
    // text that looks like JSON
  }
  return { type: 'user_message', content: text };
}
