"""A wheel carries the configs of the checkout as ``ssmbench/configs``; the rest is pyproject's."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithConfigs(build_py):
    """An editable installation reads ``configs/`` itself and gets no copy."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._copies().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self._copies()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *self._copies().values()]

    def _copies(self) -> dict[str, str]:
        into = Path(self.build_lib) / "ssmbench" / CONFIGS
        files = sorted(CONFIGS.rglob("*.yaml"))
        return {str(file): str(into / file.relative_to(CONFIGS)) for file in files}


setup(cmdclass={"build_py": BuildWithConfigs})
