"""``kdsearch.export --model``, whole."""

from __future__ import annotations

from pathlib import Path

from kdsearch.deploy.latency import latencies, shown
from kdsearch.deploy.student import load_student
from kdsearch.deploy.write import check_packages, default_file, write_student

__all__ = ["run_export"]


def run_export(
    output: Path,
    kind: str,
    file: Path | None = None,
    dataset: str | None = None,
    data_dir: Path | None = None,
    latency: bool = False,
) -> int:
    """Export the winner of a search, check the file, and say what it is.

    Args:
        output: folder of the search, or a checkpoint.
        kind: a member of :data:`kdsearch.deploy.write.KINDS`.
        file: where to write; default: ``student.onnx`` or ``student.pt2`` in the folder.
        dataset: see :func:`kdsearch.deploy.student.load_student`.
        data_dir: where that dataset's files lie.
        latency: also time all forms.

    Returns:
        Exit code 0.

    Raises:
        UserError: as :func:`load_student` and :func:`write_student`.
    """
    check_packages("onnx" if latency else kind)
    student = load_student(output, dataset, data_dir)
    written = write_student(student, kind, file or default_file(output, kind))
    spec, found = written.spec, written.agreement
    print(f"{written.path}: {spec.parameters:,} parameters, {written.bytes:,} bytes")
    unit = student.site.std / student.site.mph
    print(
        f"  differs from PyTorch in double precision by {found.next:.1e} standard deviations {spec.ahead[0]} minutes "
        f"ahead, {found.forecast:.1e} over all steps ({unit * found.forecast:.1g} {spec.unit})"
    )
    print(f"  readings [B, {spec.history}, {spec.sensors}] in {spec.unit}, every {spec.minutes} minutes, oldest first")
    if spec.clock:
        print("  minute   [B], of the day: that of the last reading")
    print(f"  next     [B, {spec.sensors}] in {spec.unit}, {spec.ahead[0]} minutes ahead")
    span = f"{spec.ahead[0]} to {spec.ahead[-1]} minutes ahead"
    print(f"  forecast [B, {spec.steps}, {spec.sensors}] in {spec.unit}, {span}")
    if latency:
        print(shown(latencies(student, files={kind: written.path})))
    return 0
