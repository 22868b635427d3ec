"""What foreseen finds by the entry points of this package. Nothing heavy is imported here."""

from foreseen.data import ReaderEntry
from foreseen.methods import MethodEntry

METHOD = MethodEntry(
    target="foreseen_example.static_grid:StaticGrid",
    presets="foreseen_example.static_grid:PRESETS",
    paper="none",
    code_licence="Apache-2.0",
    needs="posed images",
    reproduced="nothing: a grid of density and colour that never moves",
)

READER = ReaderEntry(files=("views.csv",), module="foreseen_example.views_csv")
