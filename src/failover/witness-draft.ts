/** One message at the witness while it is worked on: the group so far, what is sent, and what several rules share. */
import type { Cert, SiteName } from "./epoch.ts";
import type { Acquire, CaughtUp, Renew } from "./messages.ts";
import type {
  Heard,
  WitnessEffect,
  WitnessEvent,
  WitnessGroup,
  WitnessGroupRecord,
  WitnessInstance,
  WitnessStep,
} from "./witness-state.ts";

/** Switchovers called off that are remembered; an opId is never reused, older ones cannot come back in time. */
const VOIDED_MAX_COUNT = 16;

export class Draft {
  readonly instance: WitnessInstance;
  readonly now: number;
  state: WitnessGroup;
  readonly effects: WitnessEffect[] = [];
  private readonly before: WitnessGroupRecord;

  constructor(instance: WitnessInstance, state: WitnessGroup, now: number) {
    this.instance = instance;
    this.state = state;
    this.before = state.record;
    this.now = now;
  }

  set(patch: Partial<WitnessGroup>): void {
    this.state = { ...this.state, ...patch };
  }

  record(patch: Partial<WitnessGroupRecord>): void {
    this.state = { ...this.state, record: { ...this.state.record, ...patch } };
  }

  reply(to: SiteName, message: Extract<WitnessEffect, { type: "reply" }>["message"]): void {
    this.effects.push({ type: "reply", to, message });
  }

  done(): WitnessStep {
    const { record } = this.state;
    const effects: WitnessEffect[] =
      record === this.before ? this.effects : [{ type: "persist", record }, ...this.effects];
    return { state: this.state, effects };
  }

  stamp(): { by: string; timeMs: number } {
    return { by: this.instance.by, timeMs: this.now };
  }
}

export function withoutSwitching(record: WitnessGroupRecord): WitnessGroupRecord {
  if (record.switching === null) return record;
  const voided = [...record.voided.slice(1 - VOIDED_MAX_COUNT), record.switching.opId];
  return { ...record, switching: null, voided };
}

export function withoutSwitchingPatch(record: WitnessGroupRecord): Partial<WitnessGroupRecord> {
  const { switching, voided } = withoutSwitching(record);
  return { switching, voided };
}

export function provenEcho(
  draft: Draft,
  message: { readonly echo: Renew["echo"] },
  last: Heard | undefined,
): number | null {
  const { echo } = message;
  const before = last?.echoMs ?? null;
  if (echo === null || echo.by !== draft.instance.by) return before;
  return before === null ? echo.timeMs : Math.max(before, echo.timeMs);
}

/** The highest known incarnation of a site: one below it has been followed, and what it says counts no more. */
export function knownIncarnation({ heard, record }: WitnessGroup, site: SiteName): number {
  return Math.max(heard[site]?.incarnation ?? 0, record.veto?.site === site ? record.veto.incarnation : 0);
}

/** Only the proof of hearing; what the site says of itself comes with its Renews. */
export function hearEcho(draft: Draft, message: Exclude<WitnessEvent["message"], Renew>): void {
  const last = draft.state.heard[message.site];
  if (last === undefined || last.incarnation !== message.incarnation) return;
  const echoMs = "echo" in message ? provenEcho(draft, message, last) : last.echoMs;
  draft.set({
    heard: { ...draft.state.heard, [message.site]: { ...last, echoMs, proven: last.proven || echoMs !== null } },
  });
}

/** The next epoch, for this site; its grant is a promise like any other. */
export function grantTo(draft: Draft, message: Acquire | CaughtUp): Cert {
  const { instance, state, now } = draft;
  const promiseMs = message.leaseMs + message.guardMs;
  const counter = (state.record.cert?.epoch.counter ?? 0) + 1;
  const epoch = { generation: instance.generation, nonce: instance.nonce, counter, forcedBy: "" };
  const cert: Cert = { epoch, holder: message.site, sig: "" };
  draft.record({
    cert,
    veto: null,
    released: false,
    promiseMsMax: Math.max(state.record.promiseMsMax, promiseMs),
  });
  draft.set({
    promiseUntilMs: now + promiseMs,
    armed: false,
    asked: null,
    unclaimed: { site: message.site, incarnation: message.incarnation, nonce: message.nonce },
  });
  return cert;
}
