"""What is known of each built-in method: tables, figures, sweeps and trainers all ask here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One method. A trainer from elsewhere makes its own: `method = Method("MyTrainer")`."""

    name: str  # the trainer's
    trains_on: str = "features"  # nothing | features | views (augmented views of the training images)
    authors_chose_on: str = "test"  # test | validation | nothing (the last epoch): what protocol paper repeats
    needs_text_tower: bool = False  # so that a feature bundle is not enough
    colour: str = ""  # of figures; without one a method is drawn with a spare colour and marker
    marker: str = ""

    @property
    def uses_shots(self) -> bool:
        return self.trains_on != "nothing"

    @property
    def uses_views(self) -> bool:
        return self.trains_on == "views"


OURS, ZERO_SHOT = "CCLI", "ZeroshotCLIP"
METHODS = {  # in the order of tables and legends; the last is drawn on top
    method.name: method
    for method in (
        Method(ZERO_SHOT, trains_on="nothing", colour="#808080", marker="*"),
        Method("LinearProbe", authors_chose_on="validation", colour="#0072B2", marker="s"),
        Method("CLIPAdapter", "views", authors_chose_on="nothing", colour="#009E73", marker="v"),
        Method("TipAdapter", "views", colour="#CC79A7", marker="^"),
        Method("TipAdapterF", "views", colour="#AA4499", marker="D"),
        Method("TaskRes", "views", authors_chose_on="nothing", colour="#2B9BC4", marker="P"),
        # on the first view alone, as its authors train on one augmented pass
        Method("LPPlusPlus", "views", authors_chose_on="validation", colour="#A08000", marker="X"),
        Method("GDA", "views", authors_chose_on="validation", colour="#7A6FF0", marker="h"),
        Method("CoOp", "views", authors_chose_on="nothing", needs_text_tower=True, colour="#8F6A4F", marker="<"),
        Method(OURS, "views", colour="#D55E00", marker="o"),
    )
}


def method_of(name: str) -> Method:
    """The method of a trainer; of an unknown one only the name is known."""
    return METHODS.get(name) or Method(name)


def method_order(name: str) -> tuple[float, str]:
    """A sort key: built-in methods in the order of METHODS, others by name before CCLI, which comes last."""
    known = list(METHODS)
    return (known.index(name) if name in METHODS else len(known) - 1.5), name
