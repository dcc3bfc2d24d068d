/** The parts of Node.js, Deno and browsers that differ: environment variables, files and WebCrypto. */

interface Files {
  readFile(path: string | URL): Promise<Uint8Array<ArrayBuffer>>;
  writeFile(path: string, content: Uint8Array): Promise<void>;
  mkdir(path: string, options: { recursive: true }): Promise<unknown>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options: { force: true }): Promise<void>;
}

interface Host {
  process?: { env?: Record<string, string | undefined>; versions?: { node?: string } };
  Deno?: { env: { get(name: string): string | undefined } };
}

const host = globalThis as Host;

/** Return the value of an environment variable, or an empty string. Browsers have no environment variables. */
export function environmentVariable(name: string): string {
  try {
    return host.Deno?.env.get(name) ?? host.process?.env?.[name] ?? "";
  } catch {
    return ""; // Deno throws an error if the program may not read the variable
  }
}

/** Return the functions for files. Throws TypeError in a browser. */
export async function files(purpose: string): Promise<Files> {
  if (!host.Deno && !host.process?.versions?.node) {
    throw new TypeError(`${purpose} needs files, which only Node.js and Deno have; in a browser, use a Blob`);
  }
  return (await builtIn("node:fs/promises")) as Files;
}

/** Return WebCrypto. Browsers offer it only to pages with https and to localhost. Node.js 18 has it in a module. */
export async function subtleCrypto(): Promise<SubtleCrypto> {
  const crypto =
    (globalThis.crypto as Crypto | undefined) ?? ((await builtIn("node:crypto")) as { webcrypto: Crypto }).webcrypto;
  if (!crypto.subtle) {
    throw new TypeError("this page cannot use WebCrypto, because it was loaded over http; use https");
  }
  return crypto.subtle;
}

/** Return random bytes as hexadecimal digits. */
export async function randomHex(bytes: number): Promise<string> {
  const crypto =
    (globalThis.crypto as Crypto | undefined) ?? ((await builtIn("node:crypto")) as { webcrypto: Crypto }).webcrypto;
  return hex(crypto.getRandomValues(new Uint8Array(bytes)));
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Import a module of Node.js. The name is not a literal, so that bundlers for browsers do not look for the module. */
function builtIn(name: string): Promise<unknown> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ name);
}
