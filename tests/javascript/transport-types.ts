// Holds `gateway-chat-transport.d.ts` and `gateway-chat-transport.js` to each other, as `described.ts` does the client's.
import type * as described from '../../clients/javascript/gateway-chat-transport.js';
import type * as implemented from './transport.js';

type Fits<Wanted, _Given extends Wanted> = Wanted;
type Members<T> = { [Name in keyof T]: T[Name] };

export type Checks = [
  Fits<Members<described.GatewayChatTransport>, Members<implemented.GatewayChatTransport>>,
  Fits<Members<implemented.GatewayChatTransport>, Members<described.GatewayChatTransport>>,
  Fits<
    ConstructorParameters<typeof described.GatewayChatTransport>,
    ConstructorParameters<typeof implemented.GatewayChatTransport>
  >,
  Fits<
    ConstructorParameters<typeof implemented.GatewayChatTransport>,
    ConstructorParameters<typeof described.GatewayChatTransport>
  >,
];
