"""A finished stack: compared, kept as one checkpoint, and written into its run folder."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import class_paths
from common.machine import device_name
from datamodules import DataModule
from datamodules.prediction_table import PredictionTable
from datamodules.provenance import Provenance, fingerprint
from ensembling.heads.fitting import GreedyHead, Head, MeanHead
from ensembling.heads.networks import WeightedMean
from ensembling.heads.weights import greedy_weights, set_weights
from ensembling.judging.calibration import fit_temperature
from ensembling.judging.evaluation import stack_report
from ensembling.judging.held_out_scores import held_out_scores
from ensembling.judging.predictions import Predictions
from ensembling.judging.rejection import Thresholds, fit_thresholds
from ensembling.leakage import Leakage, leakage_allowed
from ensembling.logits import mean_of_folds
from lightning_modules.checkpoint_io import WholeFileIO
from lightning_modules.stacked_classifier import StackedClassifier, stack_checkpoint
from measures.by_source import source_entries
from measures.classification import classification_metrics
from measures.conformal import Calibration
from measures.intervals import numbered
from measures.problem import operating_point
from measures.set_coverage import set_report
from pipelines.cli.held_run import hold
from pipelines.stack.earlier import meet_earlier
from pipelines.stack.fitted import FittedHead
from pipelines.stack.looks import look_at_test
from pipelines.stack.members import MemberLogits, TrainedMember
from pipelines.stack.plan import StackPlan
from records.ledger import Looks
from records.result_files import write_json, write_predictions
from records.run_dir import RunDir, make_folder
from records.tensor_files import with_checksum
from records.versions import git_commit, versions
from records.whole_file import save_tensors, write_whole


@dataclass(frozen=True)
class Stack:
    """All that is known of a stack, ready to be compared and written.

    Args:
        plan: what was run
        run: where to write
        config: the resolved configuration of the first member's first run
        data: brings the samples
        members: with their runs
        meta: the members' logits for the meta samples, with repeats where the plan balances classes
        test: the members' logits for the test samples
        heads: fitted, by name
        leakage: overlaps between the meta samples and what the members have seen
        speed: ms an image, by member
        notes: to print beside the numbers
        control: what a negative control claims; None where the plan wants none
        repeats: the gain over trainings with other seeds; empty where there is one alone
        looked_at_again: keys of the models of these trainings, by name, for the ledger
    """

    plan: StackPlan
    run: RunDir
    config: dict[str, Any]
    data: DataModule
    members: list[TrainedMember]
    meta: MemberLogits
    test: MemberLogits
    heads: dict[str, FittedHead]
    leakage: Leakage
    speed: dict[str, float]
    notes: list[str]
    control: dict[str, Any] | None = None
    repeats: dict[str, Any] = field(default_factory=dict)
    looked_at_again: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The members' names."""
        return [member.name for member in self.members]

    @cached_property
    def held_out(self) -> Predictions:
        """Members and cross-fitted heads on the meta samples."""
        heads = {name: head.held_out for name, head in self.heads.items()}
        return Predictions(self.meta.labels, self._of_members(self.meta.logits), heads, self.meta.units)

    @cached_property
    def tested(self) -> Predictions:
        """Members and heads on the test samples."""
        folds = {name: head.test for name, head in self.heads.items()}
        heads = {name: mean_of_folds(rows) for name, rows in folds.items()}
        folds |= {name: self.test.folds[:, :, number] for number, name in enumerate(self.names)}
        return Predictions(self.test.labels, self._of_members(self.test.logits), heads, self.test.units, folds)

    def _of_members(self, logits: Tensor) -> dict[str, Tensor]:
        return {name: logits[:, number] for number, name in enumerate(self.names)}

    @cached_property
    def temperatures(self) -> dict[str, float]:
        """Of each model, fitted on held-out samples."""
        models = self.held_out.models().items() if self.plan.calibrate else ()
        return {name: fit_temperature(rows, self.meta.labels, self.meta.units) for name, rows in models}

    @cached_property
    def thresholds(self) -> dict[str, Thresholds]:
        """Of each model, fitted on held-out samples; of none where the plan rejects nothing."""
        if not self.plan.reject.wanted:
            return {}
        classes = self.data.dataset.class_names
        return {
            name: fit_thresholds(self.plan.reject, rows.softmax(1), self.meta.labels, classes, groups=self.meta.units)
            for name, rows in self.held_out.scaled(self.temperatures).items()
        }

    @property
    def failed(self) -> list[str]:
        """Heads of the plan whose fit failed."""
        return [name for name in self.plan.named_heads() if name not in self.heads]

    @property
    def _wanted(self) -> str | None:
        # what has failed cannot be kept; a note says so
        return None if self.plan.keep in self.failed else self.plan.keep

    @cached_property
    def calibration(self) -> Calibration | None:
        """Of the kept model's prediction sets, on the meta samples; None where members were fitted on some of these."""
        if self.leakage.problems():
            return None
        logits, meta = self.held_out.models()[self.chosen], self.meta
        drawn = (self.plan.seed, meta.units)
        names = self.data.dataset.source_names
        return held_out_scores(logits, meta.labels, self.plan.calibrate, *drawn, meta.sources, names, meta.repeats)

    @cached_property
    def sets(self) -> dict[str, Any]:
        """The kept model's prediction sets on test; see `set_report`."""
        sources, names = self.test.sources, self.data.dataset.source_names
        known = None if self.calibration is None else self.calibration.sources_of(sources, names)
        rows = (self.delivered(self.tested), self.test.labels)
        classes = self.data.dataset.class_names
        return set_report(self.calibration, self.plan.sets, *rows, classes, known, self.test.units)

    @cached_property
    def threshold(self) -> dict[str, Any] | None:
        """The kept model's threshold of a positive class, on test; None where no class is positive."""
        info = self.data.info
        if info.positive is None:
            return None
        rows, units = (self.delivered(self.tested), self.test.labels), numbered(self.test.units)
        return operating_point(self.calibration, *rows, info.problem, info.class_names, units)

    @cached_property
    def by_source(self) -> dict[str, Any]:
        """The kept model's metrics on test by source, and the names of the sources; empty without sources."""
        sources, names = self.test.sources, list(self.data.dataset.source_names)
        if sources is None:
            return {}
        rows = (self.delivered(self.tested), self.test.labels, sources)
        return {
            "source_names": names,
            **source_entries("test", *rows, self.data.dataset.class_names, names, self.data.info.problem),
        }

    @cached_property
    def report(self) -> dict[str, Any]:
        """All members and heads compared; see `stack_report`."""
        # the settings of the plan's own greedy head, if there is one
        greedy = next((head.head for head in self.heads.values() if isinstance(head.head, GreedyHead)), GreedyHead())
        shares = greedy_weights(self.meta.logits, self.meta.labels, greedy.rounds, greedy.metric).tolist()
        report = stack_report(
            self.tested,
            self.held_out,
            temperatures=self.temperatures,
            parameters=self._parameters(),
            ms_per_image=self._speed(),
            greedy_weights=dict(zip(self.names, shares, strict=True)),
            thresholds=self.thresholds,
            leakage=self.leakage.plain(),
            notes=self.notes,
            failed=self.failed,
            repeats=self.meta.repeats,
            class_counts=self.data.info.class_counts,
            keep=self._wanted,
            smallest_gain=self.plan.smallest_gain,
            seed=self.plan.seed,
        )
        return report if self.control is None else {**report, "negative_control": self.control}

    @property
    def reported(self) -> dict[str, Any]:
        """The report, with the gain over repeats where there are any."""
        return {**self.report, "repeats": self.repeats} if self.repeats else self.report

    def _parts(self, name: str) -> tuple[list[TrainedMember], Head, nn.Module]:
        """Return the members that a model asks, and its head over them; a weight of 0 leaves a member out."""
        if name not in self.heads:
            # a member by itself
            alone = MeanHead()
            return [m for m in self.members if m.name == name], alone, alone.build(1, self.meta.logits.shape[2])
        head, module = self.heads[name].head, self.heads[name].module
        if not isinstance(module, WeightedMean):
            return self.members, head, module
        asked = module.weight.detach().nonzero()[:, 0]
        over = WeightedMean(len(asked))
        set_weights(over, module.weight[asked])
        return [self.members[number] for number in asked.tolist()], head, over

    def _parameters(self) -> dict[str, int]:
        own = {m.name: sum(run.base.parameters for run in m.tested) for m in self.members}
        parts = {name: self._parts(name) for name in self.heads}
        return own | {
            name: sum(own[m.name] for m in members) + sum(p.numel() for p in module.parameters())
            for name, (members, _, module) in parts.items()
        }

    def _speed(self) -> dict[str, float]:
        return self.speed | {name: sum(self.speed[m.name] for m in self._parts(name)[0]) for name in self.heads}

    @property
    def chosen(self) -> str:
        """The model that is kept: the recommended one, unless the plan names another."""
        return self._wanted or str(self.report["recommendation"]["model"])

    def checkpoint(self) -> dict[str, Any]:
        """Return the chosen model as one checkpoint that needs no other file."""
        name = self.chosen
        members, head, module = self._parts(name)
        bases = [run.base for member in members for run in member.tested]
        seen = Provenance.of_columns("calibrated", self.meta)
        made = stack_checkpoint(
            {member.name: [run.base.path for run in member.tested] for member in members},
            bases[0].info,
            head,
            module,
            self.temperatures.get(name, 1.0),
            self.plan.tta,
            self.thresholds.get(name),
            seen.union(*(base.provenance for base in bases)),
            self.leakage,
            self.config["data"],
            any(len(member.tested) > 1 for member in members),
            self.data.record.plain(),
        )
        # what predict makes of it, unless its command line says otherwise
        made["config"]["sets"] = asdict(self.plan.sets)
        if self.calibration is not None:
            made["conformal"] = self.calibration.plain()
        return made

    def result(self, seconds: float, device: torch.device) -> dict[str, Any]:
        """Return what result.json says; see `write`."""
        name, run, own = self.chosen, self.run, self.meta.own
        held_out = self.delivered(self.held_out)[: len(own.ids)]
        return {
            "experiment": run.folder.parent.name,
            "run": run.folder.name,
            "model": class_paths.public_name(StackedClassifier),
            "data": self.config["data"]["class_path"],
            "seed": self.plan.seed,
            "versions": versions(),
            "git_commit": git_commit(),
            "mode": self.plan.mode,
            # names of folders beside this one
            "member_runs": {member.name: member.run_names for member in self.members},
            "kept": name,
            "parameters": self._parameters()[name],
            "trainable_parameters": 0,
            "samples": {"meta": len(own.ids), "test": len(self.test.ids)},
            "fingerprints": {
                split: fingerprint(part.ids, part.keys, part.labels)
                for split, part in (("meta", own), ("test", self.test))
            },
            "data_record": self.data.record.plain(),
            "split_seed": self.data.split_seed,
            "class_names": self.data.dataset.class_names,
            "device": device_name(device),
            "processes": 1,
            "precision": str(self.config["trainer"]["precision"] or "32-true"),
            "leakage": self.leakage.plain(),
            **Provenance.of().union(*(run.base.provenance for m in self.members for run in m.tested)).origins(),
            "fit": {"seconds": round(seconds, 3), "finished": datetime.now(UTC).isoformat(timespec="seconds")},
            "val": classification_metrics(held_out, own.labels, self.data.info.problem),
            "test": classification_metrics(self.delivered(self.tested), self.test.labels, self.data.info.problem),
            "test_sets": self.sets,
            **({} if self.threshold is None else {"test_threshold": self.threshold}),
            **self.by_source,
            "stack": self.reported,
        }

    def delivered(self, predictions: Predictions) -> Tensor:
        """Return the calibrated logits of the kept model, shape `(sample, class)`.

        Args:
            predictions: of held-out or test samples
        """
        return predictions.scaled(self.temperatures)[self.chosen].float()

    def table(self) -> PredictionTable:
        """Return the kept model's predictions on the test samples as a table."""
        logits, thresholds = self.delivered(self.tested), self.thresholds.get(self.chosen)
        accepted = None if thresholds is None else thresholds.accepted(logits.double().softmax(1))
        names = self.data.dataset.class_names
        table = PredictionTable(self.data.samples("test"), self.test.ids, logits, names, accepted=accepted)
        return table.of(self.data.dataset)

    def write(self, seconds: float, device: torch.device) -> Looks | None:
        """Write predictions, logits, result.json and checkpoint into the stack's folder, and the look into the ledger.

        Args:
            seconds: that the heads took
            device: that the members ran on

        Returns:
            the looks at this test split up to this one; None where it could not be written down
        """
        checkpoint, result = self.checkpoint(), self.result(seconds, device)
        make_folder(self.run.folder)
        with hold(self.run, "stacked"):
            looks = look_at_test(
                self.run,
                result["fingerprints"]["test"],
                self.members,
                {name: head.module for name, head in self.heads.items()},
                self.temperatures,
                self.plan.tta,
                checkpoint,
                len(self.test.ids),
                self.looked_at_again,
            )
            self._write(checkpoint, result | ({} if looks is None else {"look": looks.plain()}))
        return looks

    def _write(self, checkpoint: dict[str, Any], result: dict[str, Any]) -> None:
        run, own, told = self.run, self.meta.own, leakage_allowed(self.leakage)
        logits = {
            f"{split}/{column}": getattr(part, attribute).detach().cpu().contiguous()
            for split, part in (("meta", own), ("test", self.test))
            for column, attribute in (("id", "ids"), ("label", "labels"), ("logits", "logits"))
        }
        kept = meet_earlier(run, result, checkpoint, logits, self.data.record)
        rows = {"val": (own, self.held_out), "test": (self.test, self.tested)}
        predictions = {
            split: {"id": part.ids, "label": part.labels, "logits": self.delivered(logits)[: len(part.ids)]}
            | ({"group": part.groups} if part.groups is not None else {})
            | ({"source": part.sources} if part.sources is not None else {})
            for split, (part, logits) in rows.items()
            if split not in kept.splits
        }
        write_predictions(run.predictions, predictions, told)
        if "test" not in kept.splits:
            self.table().write(run.tables[0])
        write_tensors(run.logits, logits, told)
        self.data.record.write(run.data)
        write_json(run.result, result | kept.entries)
        if not kept.checkpoint:
            WholeFileIO().save_checkpoint(checkpoint, run.stack)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole, then rename it into place."""
    with write_whole(path) as partial:
        save_tensors(partial, tensors, with_checksum(tensors, metadata))
