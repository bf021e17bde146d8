import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBed } from "../bed/bed.ts";
import { agnhostImage, busyboxImage, localImage } from "../bed/images.ts";
import type { Bed } from "../bed/running.ts";

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({ nodes: "real", install: true });
});

afterAll(async () => bed.stop());

function podOf(name: string, image: string, command: readonly string[], hostPath?: string): unknown {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: "main",
          image,
          imagePullPolicy: "Never",
          ...(command.length > 0 ? { command } : {}),
          ...(hostPath === undefined ? {} : { volumeMounts: [{ name: "data", mountPath: "/data" }] }),
        },
      ],
      ...(hostPath === undefined
        ? {}
        : { volumes: [{ name: "data", hostPath: { path: hostPath, type: "DirectoryOrCreate" } }] }),
    },
  };
}

async function apply(site: string, ...objects: unknown[]): Promise<void> {
  await bed.kubectl(site, ["apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }),
  });
}

/** What an HTTP server answers to a Pod; Debian's static busybox has no wget that works. */
async function fetchFromPod(site: string, pod: string, host: string, port: number): Promise<string> {
  const script = `printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${host} ${port}`;
  const answer = await bed.kubectl(site, ["exec", pod, "--", "sh", "-c", script]);
  return answer.split("\r\n\r\n")[1] ?? "";
}

async function lineCount(path: string): Promise<number> {
  return (await readFile(path, "utf8").catch(() => "")).split("\n").length;
}

test("both nodes are up, and a Service reaches its Pods from the site, from a Pod and from the host", async () => {
  const web = podOf("web", agnhostImage, ["/agnhost", "netexec", "--http-port=8080"]);
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec: { type: "NodePort", selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }] },
  };
  for (const site of ["east", "west"]) {
    await apply(site, web, service, podOf("client", busyboxImage, ["sh", "-c", "while :; do sleep 1; done"]));
    await bed.kubectl(site, ["wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=60s"]);
  }
  const clusterIp = await bed.kubectl("east", ["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
  await expect
    .poll(async () => fetchFromPod("east", "client", clusterIp, 80).catch(() => ""), { timeout: 20_000 })
    .toBe("web");
  const fromHost = async (): Promise<string> =>
    fetch(`http://${bed.site("west").address}:30080/hostname`).then(
      async (answer) => answer.text(),
      () => "",
    );
  await expect.poll(fromHost, { timeout: 20_000 }).toBe("web");
  // From a Pod of one site to the other site, as the Pods of an application would.
  const west = bed.site("west").address;
  expect(await fetchFromPod("east", "client", west, 30080)).toBe("web");

  await bed.faults.partition("east", "west");
  await expect(fetchFromPod("east", "client", west, 30080)).rejects.toThrow(/timed out/);
  await bed.faults.heal();
});

test("killing a site ends its Pods at once, and restoring it brings them back with their data", async () => {
  const data = join(bed.site("east").dir, "heartbeats");
  const file = join(data, "beats");
  const beat =
    'echo "start $(cat /data/beats 2>/dev/null | wc -l)" >> /data/starts; while :; do echo beat >> /data/beats; usleep 20000; done';
  await apply("east", podOf("writer", busyboxImage, ["sh", "-c", beat], data));
  await bed.kubectl("east", ["wait", "--for=condition=Ready", "pod/writer", "--timeout=60s"]);
  await expect.poll(async () => lineCount(file), { timeout: 10_000 }).toBeGreaterThan(50);

  await bed.faults.kill("east");
  const atKill = await lineCount(file);
  await sleep(500);
  expect(await lineCount(file)).toBe(atKill);

  await bed.faults.restore("east");
  await expect.poll(async () => lineCount(file), { timeout: 60_000 }).toBeGreaterThan(atKill + 20);
  const starts = (await readFile(join(data, "starts"), "utf8")).trim().split("\n");
  expect(starts).toHaveLength(2);
  expect(Number(starts[1]?.split(" ")[1])).toBe(atKill - 1);
  await bed.kubectl("east", ["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
});

test("a paused site halts its Pods, too", async () => {
  const data = join(bed.site("west").dir, "heartbeats");
  const file = join(data, "beats");
  await apply(
    "west",
    podOf("writer", busyboxImage, ["sh", "-c", "while :; do echo beat >> /data/beats; usleep 20000; done"], data),
  );
  await expect.poll(async () => lineCount(file), { timeout: 60_000 }).toBeGreaterThan(10);
  await bed.faults.pause("west");
  await sleep(200);
  const paused = await lineCount(file);
  await sleep(300);
  expect(await lineCount(file)).toBe(paused);
  await bed.faults.resume("west");
  await expect.poll(async () => lineCount(file), { timeout: 10_000 }).toBeGreaterThan(paused);
});

test("an image made of a program and a file runs", async () => {
  const image = await localImage({
    name: "bed.local/mine:1",
    files: {
      "/bin/busybox": { copy: "/bin/busybox" },
      "/bin/sh": { link: "busybox" },
      "/etc/said": { text: "made here\n" },
    },
    command: ["/bin/busybox", "cat", "/etc/said"],
  });
  await bed.site("west").importImage(image);
  await apply("west", podOf("mine", image.name, []));
  await expect
    .poll(async () => bed.kubectl("west", ["logs", "mine"]).catch(() => ""), { timeout: 60_000 })
    .toBe("made here\n");
});
