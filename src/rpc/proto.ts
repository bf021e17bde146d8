import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ProtoGrpcType as FailoverPackage } from "./generated/failover.ts";
import type { ProtoGrpcType as GuardPackage } from "./generated/guard.ts";
import type { ProtoGrpcType as ReplicationPackage } from "./generated/replication.ts";

/** The folder with the .proto files: beside `src`, or one level higher from the compiled output. */
function protoFolder(): string {
  const candidates = ["../../proto", "../../../proto"].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`the folder proto is missing; looked in ${candidates.join(", ")}`);
  return found;
}

/**
 * The options must equal those with which src/rpc/generated was made. 64-bit integers become numbers: all of ours
 * stay below 2^53, and what is read is checked (`safeInteger` in convert.ts).
 */
const definition = loadSync(
  ["lifeboat/v1/replication.proto", "lifeboat/v1/failover.proto", "lifeboat/v1/guard.proto"],
  {
    includeDirs: [protoFolder()],
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  },
);

const loaded = loadPackageDefinition(definition) as unknown as ReplicationPackage & FailoverPackage & GuardPackage;

export const proto = loaded.lifeboat.v1;
