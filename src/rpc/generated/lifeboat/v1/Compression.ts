// Original file: proto/lifeboat/v1/replication.proto

export const Compression = {
  NONE: 'NONE',
  ZSTD: 'ZSTD',
} as const;

export type Compression =
  | 'NONE'
  | 0
  | 'ZSTD'
  | 1

export type Compression__Output = typeof Compression[keyof typeof Compression]
