// Original file: proto/lifeboat/v1/replication.proto

export const DigestPurpose = {
  CHECK: 'CHECK',
  RESET: 'RESET',
} as const;

export type DigestPurpose =
  | 'CHECK'
  | 0
  | 'RESET'
  | 1

export type DigestPurpose__Output = typeof DigestPurpose[keyof typeof DigestPurpose]
