/** Counts the results of a batch of runs. Pure. */
import type { Mode } from "../../engine/api";
import { groups } from "../lib/groups";
import { wilson } from "../lib/statistics";
import { modeOf } from "./modes";

/** What the visitor wants measured. */
export interface Survey {
  readonly modes: readonly Mode[];
  /** Numbers of rounds, for the modes that have rounds. */
  readonly rounds: readonly number[];
  /** How many questions, balanced over the groups of the set. */
  readonly questions: number;
}

/** One combination of a survey. */
export interface Cell {
  readonly mode: Mode;
  readonly rounds: number;
}

/** A mode without rounds has one cell, of 1 round. */
export function cellsOf({ modes, rounds }: Survey): Cell[] {
  return modes.flatMap((mode): Cell[] =>
    modeOf(mode).rounds ? rounds.map((each) => ({ mode, rounds: each })) : [{ mode, rounds: 1 }],
  );
}

/** One run of a batch. */
export interface Trial {
  /** The question's index in the held-out set. */
  readonly question: number;
  readonly group: string | undefined;
  readonly mode: Mode;
  readonly rounds: number;
  readonly right: boolean;
  readonly decodedTokens: number;
  readonly ms: number;
}

/** All runs of one mode and number of rounds. */
export interface Score {
  readonly mode: Mode;
  readonly rounds: number;
  readonly right: number;
  readonly of: number;
  readonly accuracy: number;
  /** 95 % Wilson interval. */
  readonly low: number;
  readonly high: number;
  /** Means over the runs. */
  readonly decodedTokens: number;
  readonly ms: number;
}

/** Scores by mode and number of rounds, in the order of their first run. */
export function scores(trials: readonly Trial[]): Score[] {
  return groups(trials, ({ mode, rounds }) => `${mode}/${rounds}`).map((each) => {
    const [first] = each;
    const right = each.filter((trial) => trial.right).length;
    const [low, high] = wilson(right, each.length);
    const mean = (value: (trial: Trial) => number): number =>
      each.reduce((sum, trial) => sum + value(trial), 0) / each.length;
    return {
      mode: first.mode,
      rounds: first.rounds,
      right,
      of: each.length,
      accuracy: right / each.length,
      low,
      high,
      decodedTokens: mean((trial) => trial.decodedTokens),
      ms: mean((trial) => trial.ms),
    };
  });
}

/** Accuracy of one mode and number of rounds on one group of questions. */
export interface GroupScore {
  readonly group: string;
  readonly rounds: number;
  readonly accuracy: number;
  readonly of: number;
}

/** @returns an empty list if the questions have no groups. */
export function groupScores(trials: readonly Trial[], mode: Mode): GroupScore[] {
  const grouped = trials.filter((trial) => trial.mode === mode && trial.group !== undefined);
  return groups(grouped, ({ group, rounds }) => `${group}/${rounds}`).map((each) => ({
    group: each[0].group ?? "",
    rounds: each[0].rounds,
    accuracy: each.filter(({ right }) => right).length / each.length,
    of: each.length,
  }));
}

/** @returns the trials as CSV with a header. */
export function toCsv(trials: readonly Trial[]): string {
  const quote = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = trials.map((trial) =>
    [
      trial.question + 1,
      quote(trial.group ?? ""),
      trial.mode,
      trial.rounds,
      trial.right ? 1 : 0,
      trial.decodedTokens,
      trial.ms.toFixed(1),
    ].join(","),
  );
  return ["question,group,mode,rounds,right,decoded_tokens,ms", ...rows, ""].join("\n");
}
