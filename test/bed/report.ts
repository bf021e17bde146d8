/** Receives one line about what is being done. */
export type LogFn = (line: string) => void;
