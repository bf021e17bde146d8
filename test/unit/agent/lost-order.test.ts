import { expect, test } from "vitest";
import { answerLost } from "../../../src/agent/lost-order.ts";

const ask = (verb: string, id: string) => ({ group: "shop", verb, id });
const at = (holder: string, epoch: string, opId?: string) => ({ holder, epoch, opId });

test.each(["diff", "purge", "deletes-confirm", "pause", "abort", ""])("%s is asked again", (verb) => {
  expect(answerLost(ask(verb, "1"), at("east", "7.1", "op"))).toEqual({
    outcome: "Refused",
    message:
      "the agent that took this is gone (restarted, or another one leads): it may have been carried out or not; " +
      "ask again [Interrupted]",
  });
});

test("of a switchover that is open nothing is said: it goes on", () => {
  expect(answerLost(ask("switchover", "west@7.1"), at("east", "7.1", "op"))).toBeUndefined();
  expect(answerLost(ask("failover", "west"), at("east", "7.1", "op"))).toBeUndefined();
});

test.each([
  ["the ordered site holds the group now", "failover", "west@7.1", at("west", "7.2"), "Done"],
  ["the same, of a short form", "failover", "west", at("west", "7.2"), "Done"],
  ["a forced epoch", "force-fenced", "west@7.1", at("west", "7.2.west"), "Done"],
  ["it held it before, and was to be forced", "force-fenced", "west@7.1", at("west", "7.1"), "Refused"],
  ["it did not come", "failover", "west@7.1", at("east", "7.1"), "Refused"],
  ["it came and went, or never came", "failover", "west@7.1", at("east", "7.3"), "Refused"],
  ["nothing is known any more", "failover", "west@7.1", undefined, "Refused"],
  ["nobody ever held it", "failover", "west@7.1", { holder: undefined, epoch: undefined, opId: undefined }, "Refused"],
  ["no order at all", "failover", "", { holder: undefined, epoch: undefined, opId: undefined }, "Refused"],
])("%s: %s %s", (_, verb, id, failover, outcome) => {
  expect(answerLost(ask(verb, id), failover)).toMatchObject({ outcome });
});
