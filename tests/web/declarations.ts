/**
 * The shipped declarations describe the sources: every export has the declared name and type. `tsc` checks
 * this file; nothing runs it.
 */
import type * as declaredClient from '../../agentws/web/client.js';
import type * as declaredReact from '../../agentws/web/react.js';
import type * as client from 'source/client';
import type * as react from 'source/react';

/** TypeScript compares the parameters of methods loosely, and those of functions in properties strictly. */
type Strict<T> = {
  [K in keyof T]: T[K] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Result
    : T[K];
};

/** An error where the source is not assignable to the declaration. */
type Fits<Source extends Declared, Declared> = [Source, Declared];
/** An error where one has a name that the other has not. */
type SameNames<
  Source extends Record<keyof Declared, unknown>,
  Declared extends Record<keyof Source, unknown>,
> = [Source, Declared];

export type Checked = [
  Fits<Strict<typeof client>, Strict<typeof declaredClient>>,
  Fits<Strict<typeof react>, Strict<typeof declaredReact>>,
  Fits<Strict<client.AgentSocket>, Strict<declaredClient.AgentSocket>>,
  Fits<Strict<client.Sessions>, Strict<declaredClient.Sessions>>,
  Fits<
    ConstructorParameters<typeof declaredClient.AgentSocket>,
    ConstructorParameters<typeof client.AgentSocket>
  >,
  SameNames<typeof client, typeof declaredClient>,
  SameNames<typeof react, typeof declaredReact>,
  SameNames<client.AgentSocket, declaredClient.AgentSocket>,
  SameNames<client.Sessions, declaredClient.Sessions>,
];
