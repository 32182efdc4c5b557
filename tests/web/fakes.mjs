/** Fakes of the browser: a clock, a WebSocket, a network and a storage. */

export class FakeClock {
  #now = 1_000_000;
  #back = 0;
  #due = [];
  #next = 0;

  now = () => this.#now - this.#back;

  /** Somebody sets the clock back: timers are not late for that. */
  setBack(milliseconds) {
    this.#back += milliseconds;
  }

  setTimeout = (act, delay) => {
    const timer = { id: ++this.#next, at: this.#now + delay, act };
    this.#due.push(timer);
    return timer;
  };

  clearTimeout = (timer) => {
    this.#due = this.#due.filter((one) => one !== timer);
  };

  get pending() {
    return this.#due.length;
  }

  /**
   * Lets time pass; every timer runs at its own time, and what it awaits settles before the next.
   */
  async advance(milliseconds) {
    const end = this.#now + milliseconds;
    await settled();
    for (;;) {
      const [timer] = this.#due
        .filter(({ at }) => at <= end)
        .sort((a, b) => a.at - b.at || a.id - b.id);
      if (!timer) break;
      this.clearTimeout(timer);
      this.#now = Math.max(this.#now, timer.at);
      timer.act();
      await settled();
    }
    this.#now = end;
  }
}

/** Waits until every promise that can settle has settled. */
export async function settled() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** A network: every socket that was opened on it, in order. */
export function fakeNetwork() {
  const sockets = [];
  class FakeWebSocket {
    readyState = 0;
    onmessage;
    onclose;
    sent = [];
    closedWith = null;

    constructor(url, protocols) {
      this.url = new URL(url);
      this.protocols = protocols;
      sockets.push(this);
    }

    send(text) {
      this.sent.push(JSON.parse(text));
    }

    close(code) {
      this.readyState = 3;
      this.closedWith = code;
    }

    /** The server sends frames. */
    deliver(...frames) {
      this.readyState = 1;
      this.onmessage({ data: JSON.stringify(frames.length === 1 ? frames[0] : frames) });
    }

    welcome(fields = {}) {
      this.deliver({
        type: 'welcome',
        protocol: 'agentws.v1',
        connection: 'con_1',
        session: 'ses_1',
        head: 'ep.0.',
        resume: 'new',
        agent: 'default',
        agents: ['default'],
        heartbeat: 20,
        limits: { maxMessageSize: 1000 },
        ...fields,
      });
    }

    /** The server or the network closes the socket. */
    drop(code = 1006, reason = '') {
      this.readyState = 3;
      this.onclose({ code, reason });
    }

    sentOf(type) {
      return this.sent.filter((frame) => frame.type === type);
    }
  }
  return { WebSocket: /** @type {any} */ (FakeWebSocket), sockets, last: () => sockets.at(-1) };
}

export class FakeDocument extends EventTarget {
  hidden = false;
}

export class FakeStorage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, value);
  removeItem = (key) => void this.items.delete(key);
}

/** Pseudo-random numbers in [0, 1): the same sequence for the same seed. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
