/** A page that shows a session's state, over a fake WebSocket. */
import { welcome } from '../client/frames.js';
import { Page, passTime } from '../client/page.js';
import { GatewaySession } from '../package/gateway-session.js';

export class Conversation extends Page {
  constructor(options = {}) {
    super();
    this.session = new GatewaySession({ sessionId: 's1', WebSocket: this.WebSocket, ...options });
    this.states = [];
  }

  /** One that is drawn, and has not been welcomed. */
  static async drawn(options) {
    const conversation = new Conversation(options);
    conversation.leave = conversation.session.subscribe(() => conversation.states.push(conversation.shown));
    await passTime(0);
    return conversation;
  }

  /** One that is drawn and welcomed. */
  static async open(welcomeFields = {}, options = {}) {
    const conversation = await Conversation.drawn(options);
    await conversation.say(welcome(welcomeFields));
    return conversation;
  }

  get shown() {
    return this.session.getSnapshot();
  }

  get messages() {
    return this.shown.messages;
  }

  /** Each message in short: who, what, and how far it is. */
  get texts() {
    return this.messages.map(({ role, status, parts }) => `${role} ${status}: ${parts.map((part) => part.text ?? part.type).join('|')}`);
  }

  /** Answer the newest request for a page of the history. */
  async answer(turns, next = null) {
    const asked = this.socket.sent.findLast(({ type }) => type === 'history');
    await this.say({ type: 'history', client_message_id: asked.client_message_id, turns, next, incomplete: false });
    await passTime(0);
  }

  /** `before` of each page that was requested over the newest connection. */
  get requested() {
    return this.socket.sent.filter(({ type }) => type === 'history').map(({ before }) => before);
  }
}

/** A turn of the history. */
export const ended = (id, fields = {}) => ({
  turn_id: id, message: `${id}?`, answer: `${id}.`, finish_reason: 'stop', error: null, events: [], ...fields,
});
