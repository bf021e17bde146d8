/** The order of the demo's chapters. The verdict is told whatever happened before. */
import { change } from "./chapters/change.ts";
import { judge } from "./chapters/judge.ts";
import { returnEast } from "./chapters/return.ts";
import { installApp, startClusters, startLifeboat } from "./chapters/setup.ts";
import { protect } from "./chapters/protect.ts";
import { countLoss, takeOver } from "./chapters/takeover.ts";
import type { Chapter, Step, Story } from "./screen.ts";
import type { Stage } from "./stage.ts";

export function story(stage: Stage): Story {
  const chapter = (title: string, work: (stage: Stage, step: Step) => Promise<string>): Chapter => ({
    title,
    run: async (step) => work(stage, step),
  });
  const chapters = [
    chapter("Two clusters", startClusters),
    chapter("A witness and two agents", startLifeboat),
    chapter("An application at east", installApp),
    chapter("Protecting it", protect),
    chapter("Changing it 20 times a second", change),
    chapter("SIGKILL of all of east", takeOver),
    chapter("What was lost", countLoss),
    chapter("East returns", returnEast),
  ];
  return { chapters, ending: chapter("Verdict", judge) };
}
