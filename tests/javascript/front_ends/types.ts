// Holds `gateway-chat-transport.d.ts` to the `ChatTransport` and the chat of each version of `ai`.
import type * as ai from 'ai';
import type * as ai5 from 'ai-5';
import type * as ai6 from 'ai-6';
import type { FollowedChat, GatewayChatTransport } from '../../../clients/javascript/gateway-chat-transport.js';

type Fits<Wanted, _Given extends Wanted> = Wanted;

export type Checks = [
  Fits<ai.ChatTransport<ai.UIMessage>, GatewayChatTransport>,
  Fits<ai6.ChatTransport<ai6.UIMessage>, GatewayChatTransport>,
  Fits<ai5.ChatTransport<ai5.UIMessage>, GatewayChatTransport>,
  Fits<FollowedChat, ai.AbstractChat<ai.UIMessage>>,
  Fits<FollowedChat, ai6.AbstractChat<ai6.UIMessage>>,
  Fits<FollowedChat, ai5.AbstractChat<ai5.UIMessage>>,
];
