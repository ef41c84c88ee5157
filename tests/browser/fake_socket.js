// Stands in for WebSocket: every connection is kept in `sockets`, and does only what the test tells it to.
window.sockets = [];
window.FakeWebSocket = class {
  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
    this.sent = [];
    this.isClosed = false;
    window.sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.isClosed = true;
  }
};

// Everything that the client tells its page, in order.
window.heard = [];
window.listen = (client) => {
  const kinds = ['state', 'welcome', 'snapshot', 'user_message', 'token', 'final', 'error', 'refused', 'accepted',
    'cancel_ack', 'notice', 'event', 'disconnect'];
  for (const kind of kinds) client.on(kind, (frame) => window.heard.push({ kind, ...frame }));
};

window.turnState = ({ id, clientMessageId, status, position, text, isStopped, finishReason, error }) =>
  ({ id, clientMessageId, status, position, text, isStopped, finishReason, error: error && { code: error.code, retryAfterMs: error.retryAfterMs } });
