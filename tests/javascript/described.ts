// Holds `gateway-client.d.ts` and `gateway-client.js` to each other: each has what the other has, of the same type.
import type * as described from '../../clients/javascript/gateway-client.js';
import type * as implemented from './implementation.js';

type Fits<Wanted, _Given extends Wanted> = Wanted;

/** What a module exports: functions, and classes by their public members. */
type Shape<Module> = {
  [Name in keyof Module]: Module[Name] extends (...given: any) => any ? Described<Module[Name]>
    : Module[Name] extends { prototype: infer Instance } ? Members<Instance>
    : Module[Name];
};

/** Names that start with an underscore are for the module itself. */
type Members<T> = { [Name in keyof T as Name extends `_${string}` ? never : Name]: Described<T[Name]> };

/** The described class in the place of the implemented one: no other class fits a class that has a `#private`. */
type Described<T> = T extends implemented.Turn ? described.Turn
  : T extends implemented.GatewayClient ? described.GatewayClient
  : T extends (...given: infer Arguments) => infer Result ? (...given: Arguments) => Described<Result>
  : T;

export type Checks = [
  Fits<Shape<typeof described>, Shape<typeof implemented>>,
  Fits<Shape<typeof implemented>, Shape<typeof described>>,
  Fits<ConstructorParameters<typeof described.GatewayClient>, ConstructorParameters<typeof implemented.GatewayClient>>,
  Fits<ConstructorParameters<typeof implemented.GatewayClient>, ConstructorParameters<typeof described.GatewayClient>>,
  Fits<ConstructorParameters<typeof described.GatewayError>, ConstructorParameters<typeof implemented.GatewayError>>,
  Fits<ConstructorParameters<typeof implemented.GatewayError>, ConstructorParameters<typeof described.GatewayError>>,
  Fits<keyof described.GatewayEvents, (typeof described.KINDS)[number]>,
  Fits<(typeof described.KINDS)[number], keyof described.GatewayEvents>,
];
