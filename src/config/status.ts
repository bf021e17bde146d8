import * as z from "zod";

/**
 * The status of a ProtectionGroup. Both sites' agents write the status of their own site's object; a field that
 * another version of the agent adds is kept, so everything here is loose and optional.
 */

const count = (description: string) => z.int().min(0).describe(description).optional();
const ms = (description: string) => z.number().min(0).describe(description).optional();
const text = (description: string) => z.string().describe(description).optional();

const conditionSchema = z
  .looseObject({
    type: z
      .string()
      .describe(
        "Synced, Ready, Promotable, Armed, Degraded, DeletesPaused, Conflicts, Contested, FieldsDropped, Diverged, PodsLeft, Blocked or Accepted.",
      ),
    status: z.enum(["True", "False", "Unknown"]).describe("Whether the condition holds."),
    reason: z.string().describe("One word on why."),
    message: z.string().describe("A sentence for people."),
    lastTransitionTime: z.iso.datetime().describe("When status last changed."),
    observedGeneration: z.int().describe("Generation of the spec that this is about.").optional(),
  })
  .describe("A condition.");

export type Condition = z.output<typeof conditionSchema>;

const findingSchema = z
  .looseObject({
    code: z.string().describe("What kind of thing was found."),
    object: text("Key of the object, group/Kind/namespace/name, as at the active site."),
    message: z.string().describe("A sentence for people."),
  })
  .describe("Something that a person should know about one object.");

export const groupStatusSchema = z
  .looseObject({
    observedGeneration: count("Generation of the spec that this status is about."),
    role: text("Role of this site for the group: active, standby or unknown."),
    active: text("Site that runs the group, as far as this site knows."),
    epoch: text("Epoch of that."),
    state: text("State of the failover protocol at this site."),
    reason: text("Why it is in that state, and what an operator can do."),
    lag: z
      .looseObject({
        journalMs: ms("From a change at the source to durable at the standby, latest canary."),
        applyMs: ms("From a change at the source to visible at the standby, latest canary."),
        ageMs: ms("Age of the newest state that the standby is known to have; grows while the peer is silent."),
        summary: text("The same for people: 0.8s, or never."),
      })
      .describe("How far the standby is behind, measured on the source's clock.")
      .optional(),
    counts: z
      .looseObject({
        objects: count("Objects of the group at the source."),
        applied: count("Objects that are applied at the standby."),
        pending: count("Objects that wait to be applied."),
        withheld: count("Objects that are kept back until promotion."),
        failed: count("Objects that the standby's API server refuses."),
      })
      .describe("Counts of objects.")
      .optional(),
    leases: z
      .looseObject({
        witness: text("What the witness's lease is to this site now."),
        peer: text("What the other site's lease is to this site now."),
        fence: text("What stops the group at this site without its API server: guard, storage, api or none."),
        gate: text("Whether this site's API server refuses to start the group where it may not run."),
        stopBoundMs: ms("How long stopping takes at this site at most."),
      })
      .describe("By what right the group runs here, or does not.")
      .optional(),
    ifLost: z
      .looseObject({
        site: text("If this site died."),
        peer: text("If the other site died."),
        witness: text("If the witness died."),
      })
      .describe("What would happen now, as far as this site knows.")
      .optional(),
    conditions: z
      .array(conditionSchema)
      .describe("Conditions.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] })
      .optional(),
    pulledIn: z
      .array(z.string().describe("Key of an object."))
      .describe("Objects that were not selected but are needed by one that is.")
      .optional(),
    findings: z.array(findingSchema).describe("What a person should know about single objects.").optional(),
    divergence: z
      .looseObject({
        count: count("Objects that differ."),
        objects: z.array(z.string().describe("Key of an object.")).describe("Some of them.").optional(),
      })
      .describe("What the returned site changed by itself while the other was active.")
      .optional(),
    merge: z
      .looseObject({
        singletons: text("Where what is single runs: here or at the other site."),
        singletonCount: count("Objects that are single."),
        surgePercent: count("Replicas in percent of the usual ones, while this site carries the load of both."),
        clockAheadMs: ms("How far the other site's clock is ahead, while that keeps its writes from being followed."),
        tombstones: count("Deleted objects that are remembered."),
        conflictCount: count("Writes of both sites to one object that did not know of each other, ever found here."),
        conflicts: z
          .array(
            z
              .looseObject({
                object: z.string().describe("Key of the object at this site."),
                at: z.string().describe("When this site found it."),
                winner: z.string().describe("Site whose write counts."),
                loser: z.string().describe("Site whose write was lost."),
                message: text("Both moments, and what was lost."),
              })
              .describe("A conflict."),
          )
          .describe("The latest of them, newest first.")
          .optional(),
      })
      .describe("ActiveActive only: how the objects of both sites become the same.")
      .optional(),
    lastFailover: z
      .looseObject({
        at: text("When it was decided."),
        from: text("Site that was active before."),
        to: text("Site that is active since."),
        epoch: text("Epoch that began with it."),
        kind: text("failover or switchover."),
        automatic: z.boolean().describe("Decided by the witness, not by a person.").optional(),
        decisionMs: ms("From the last sign of life of the old site to the grant."),
        rpoMs: ms("Age of the newest journalled state at the grant."),
        rtoMs: ms("From the last sign of life of the old site to all workloads ready."),
        outcome: text("How it ended."),
        timeline: z
          .array(
            z
              .looseObject({
                event: z.string().describe("What happened."),
                at: z.string().describe("When, on this site's clock."),
                detail: text("What it was about."),
              })
              .describe("A step."),
          )
          .describe("What led to it, oldest first.")
          .optional(),
      })
      .describe("The latest change of the active site.")
      .optional(),
    lastRequest: z
      .looseObject({
        id: text("What was asked for, so that the same request is not followed twice."),
        verb: text(
          "failover, switchover, force-fenced, abort, pause, resume, preflight, diff, divergence, purge, deletes-confirm or accept-rewind.",
        ),
        outcome: text("Running, Done or Refused."),
        message: text("What came of it, or why it was refused and what to do instead."),
        at: text("When this was written."),
      })
      .describe("The latest request by a person at this site, and what came of it.")
      .optional(),
    peer: z
      .looseObject({
        site: text("Name of the other site."),
        reachable: z.boolean().describe("Whether its agent answers.").optional(),
        lastSeen: text("When it last answered."),
      })
      .describe("The other site, as seen from this one.")
      .optional(),
    witness: z
      .looseObject({
        reachable: z.boolean().describe("Whether it answers.").optional(),
        lastSeen: text("When it last answered."),
      })
      .describe("The witness, as seen from this site.")
      .optional(),
  })
  .describe("What the agent of this site observes.");
