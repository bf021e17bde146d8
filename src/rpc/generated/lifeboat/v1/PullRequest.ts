// Original file: proto/lifeboat/v1/replication.proto

import type { Hello as _lifeboat_v1_Hello, Hello__Output as _lifeboat_v1_Hello__Output } from '../../lifeboat/v1/Hello.ts';
import type { Credit as _lifeboat_v1_Credit, Credit__Output as _lifeboat_v1_Credit__Output } from '../../lifeboat/v1/Credit.ts';
import type { Ack as _lifeboat_v1_Ack, Ack__Output as _lifeboat_v1_Ack__Output } from '../../lifeboat/v1/Ack.ts';
import type { CheckRequest as _lifeboat_v1_CheckRequest, CheckRequest__Output as _lifeboat_v1_CheckRequest__Output } from '../../lifeboat/v1/CheckRequest.ts';
import type { Compare as _lifeboat_v1_Compare, Compare__Output as _lifeboat_v1_Compare__Output } from '../../lifeboat/v1/Compare.ts';
import type { Refuse as _lifeboat_v1_Refuse, Refuse__Output as _lifeboat_v1_Refuse__Output } from '../../lifeboat/v1/Refuse.ts';
import type { Heartbeat as _lifeboat_v1_Heartbeat, Heartbeat__Output as _lifeboat_v1_Heartbeat__Output } from '../../lifeboat/v1/Heartbeat.ts';

export interface PullRequest {
  'hello'?: (_lifeboat_v1_Hello | null);
  'credit'?: (_lifeboat_v1_Credit | null);
  'ack'?: (_lifeboat_v1_Ack | null);
  'check'?: (_lifeboat_v1_CheckRequest | null);
  'compare'?: (_lifeboat_v1_Compare | null);
  'refuse'?: (_lifeboat_v1_Refuse | null);
  'heartbeat'?: (_lifeboat_v1_Heartbeat | null);
  'kind'?: "hello"|"credit"|"ack"|"check"|"compare"|"refuse"|"heartbeat";
}

export interface PullRequest__Output {
  'hello'?: (_lifeboat_v1_Hello__Output | null);
  'credit'?: (_lifeboat_v1_Credit__Output | null);
  'ack'?: (_lifeboat_v1_Ack__Output | null);
  'check'?: (_lifeboat_v1_CheckRequest__Output | null);
  'compare'?: (_lifeboat_v1_Compare__Output | null);
  'refuse'?: (_lifeboat_v1_Refuse__Output | null);
  'heartbeat'?: (_lifeboat_v1_Heartbeat__Output | null);
  'kind'?: "hello"|"credit"|"ack"|"check"|"compare"|"refuse"|"heartbeat";
}
