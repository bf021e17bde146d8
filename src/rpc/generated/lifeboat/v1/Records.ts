// Original file: proto/lifeboat/v1/replication.proto

import type { Record as _lifeboat_v1_Record, Record__Output as _lifeboat_v1_Record__Output } from '../../lifeboat/v1/Record.ts';

export interface Records {
  'records'?: (_lifeboat_v1_Record)[];
}

export interface Records__Output {
  'records': (_lifeboat_v1_Record__Output)[];
}
