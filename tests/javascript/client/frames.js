/** The frames of a gateway, with what a test says of them. */

export const HEARTBEAT_SECONDS = 20;

export const welcome = (fields = {}) => ({
  type: 'welcome',
  session_id: 's1',
  epoch: 'E1',
  offset: 0,
  after: 0,
  recovered: null,
  heartbeat_seconds: HEARTBEAT_SECONDS,
  retention_seconds: 3600,
  max_message_bytes: 65_536,
  active: null,
  queued: [],
  pending: [],
  ...fields,
});

export const userMessage = (offset, fields = {}) => ({
  type: 'user_message', content: 'hi', turn_id: 't1', offset, ...fields,
});

export const token = (offset, text, fields = {}) => ({
  type: 'assistant_message', token: text, is_final: false, turn_id: 't1', offset, ...fields,
});

export const final = (offset, fields = {}) => token(offset, '', { is_final: true, finish_reason: 'stop', ...fields });

export const failure = (offset, fields = {}) => ({
  type: 'error', code: 'upstream_error', content: 'No.', turn_id: 't1', offset, ...fields,
});

export const accepted = (messageId = 'm1', turnId = 't1', fields = {}) => ({
  type: 'accepted', client_message_id: messageId, turn_id: turnId, position: 0, status: 'queued', duplicate: false,
  ...fields,
});

export const snapshot = (offset, content, fields = {}) => ({
  type: 'snapshot', epoch: 'E1', turn_id: 't1', content, offset, reason: 'trimmed', finish_reason: null, error: null,
  ...fields,
});

export const cancelAck = (turnId, status) => ({ type: 'cancel_ack', turn_id: turnId, status });

export const ping = (offset, epoch = 'E1') => ({ type: 'ping', epoch, offset });

export const disconnect = (code, fields) => ({ type: 'disconnect', code, content: 'Bye.', ...fields });

export const running = (turnId) => ({ turn_id: turnId, status: 'running' });
