/** The part of React that the hooks use: memory between renders, and the subscription to a store. */

let current = null;

export class Mounted {
  memory = [];
  effects = new Map();
  renders = 0;
  store;
  value;
  #cell = 0;
  #component;
  #subscription = null;

  constructor(component) {
    this.#component = component;
    this.render();
  }

  render() {
    current = this;
    this.#cell = 0;
    this.value = this.#component();
    current = null;
    this.renders += 1;
  }

  /** Runs the effects after a render; StrictMode runs, undoes and runs them again. */
  mount() {
    this.#subscription = this.store.subscribe(() => this.render());
    for (const effect of this.effects.values()) effect.undo = effect.run();
  }

  unmount() {
    for (const effect of this.effects.values()) effect.undo?.();
    this.#subscription?.();
    this.#subscription = null;
  }

  /** An effect whose dependencies have changed runs again, once it is mounted. */
  effect(run, dependencies) {
    const cell = this.#cell;
    this.remember(() => {
      this.effects.get(cell)?.undo?.();
      const undo = this.#subscription ? run() : undefined;
      this.effects.set(cell, { run, undo });
    }, dependencies);
  }

  remember(make, dependencies) {
    const cell = this.#cell++;
    const known = this.memory[cell];
    const same = known?.dependencies.every((one, index) => Object.is(one, dependencies[index]));
    if (!same) this.memory[cell] = { value: make(), dependencies };
    return this.memory[cell].value;
  }
}

export const useMemo = (make, dependencies) => current.remember(make, dependencies);
export const useCallback = (callback, dependencies) =>
  current.remember(() => callback, dependencies);
export const useRef = (value) => current.remember(() => ({ current: value }), []);
export const useEffect = (run, dependencies) => current.effect(run, dependencies);
export function useSyncExternalStore(subscribe, getSnapshot, getServerSnapshot) {
  current.store = { subscribe, getServerSnapshot };
  return getSnapshot();
}

export function useState(initial) {
  const mounted = current;
  const cell = mounted.remember(() => ({ value: initial }), []);
  const set = mounted.remember(
    () => (value) => {
      cell.value = value;
      // An effect of this render may have set it.
      if (current) queueMicrotask(() => mounted.render());
      else mounted.render();
    },
    [],
  );
  return [cell.value, set];
}
