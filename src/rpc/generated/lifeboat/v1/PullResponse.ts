// Original file: proto/lifeboat/v1/replication.proto

import type { Welcome as _lifeboat_v1_Welcome, Welcome__Output as _lifeboat_v1_Welcome__Output } from '../../lifeboat/v1/Welcome.ts';
import type { Batch as _lifeboat_v1_Batch, Batch__Output as _lifeboat_v1_Batch__Output } from '../../lifeboat/v1/Batch.ts';
import type { Digest as _lifeboat_v1_Digest, Digest__Output as _lifeboat_v1_Digest__Output } from '../../lifeboat/v1/Digest.ts';
import type { Heartbeat as _lifeboat_v1_Heartbeat, Heartbeat__Output as _lifeboat_v1_Heartbeat__Output } from '../../lifeboat/v1/Heartbeat.ts';

export interface PullResponse {
  'welcome'?: (_lifeboat_v1_Welcome | null);
  'batch'?: (_lifeboat_v1_Batch | null);
  'digest'?: (_lifeboat_v1_Digest | null);
  'heartbeat'?: (_lifeboat_v1_Heartbeat | null);
  'kind'?: "welcome"|"batch"|"digest"|"heartbeat";
}

export interface PullResponse__Output {
  'welcome'?: (_lifeboat_v1_Welcome__Output | null);
  'batch'?: (_lifeboat_v1_Batch__Output | null);
  'digest'?: (_lifeboat_v1_Digest__Output | null);
  'heartbeat'?: (_lifeboat_v1_Heartbeat__Output | null);
  'kind'?: "welcome"|"batch"|"digest"|"heartbeat";
}
