// Holds `gateway-session.d.ts`, `gateway-http-socket.d.ts` and `gateway-react.d.ts` to their modules.
import type * as describedSocket from '../../clients/javascript/gateway-http-socket.js';
import type * as describedReact from '../../clients/javascript/gateway-react.js';
import type * as described from '../../clients/javascript/gateway-session.js';
import type * as implementedReact from './hook.js';
import type * as implementedSocket from './http-socket.js';
import type * as implemented from './session.js';

type Fits<Wanted, _Given extends Wanted> = Wanted;
type Members<T> = { [Name in keyof T]: T[Name] };

export type Checks = [
  Fits<keyof typeof described, keyof typeof implemented>,
  Fits<Members<described.GatewaySession>, Members<implemented.GatewaySession>>,
  Fits<Members<implemented.GatewaySession>, Members<described.GatewaySession>>,
  Fits<ConstructorParameters<typeof described.GatewaySession>, ConstructorParameters<typeof implemented.GatewaySession>>,
  Fits<ConstructorParameters<typeof implemented.GatewaySession>, ConstructorParameters<typeof described.GatewaySession>>,
  Fits<Members<describedSocket.HttpSocket>, Members<implementedSocket.HttpSocket>>,
  Fits<Members<implementedSocket.HttpSocket>, Members<describedSocket.HttpSocket>>,
  Fits<keyof typeof describedSocket, keyof typeof implementedSocket>,
  Fits<keyof typeof describedReact, keyof typeof implementedReact>,
];

// A page asks each message, whatever its role.
export const wordsOf = ({ error }: described.Message): string => error?.message ?? '';
