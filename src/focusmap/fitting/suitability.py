"""Which model, rows and baseline a recipe means for a cohort, and whether it suits: asked before a file is written."""

from dataclasses import replace

from focusmap import nets
from focusmap.basics import InputError
from focusmap.study import UNLABELLED, Cases, Cohort, Recipe, by_case, parse_target_weights, type_covariates
from focusmap.study.recipe_parts import LADDER, ModelName, parse_model
from focusmap.study.roles import PATH_COLUMNS, call_it_path, columns_of_images

TABLE_DEFAULT = "gradient-boosting"
# Fast, and neither of colour alone nor of edges alone.
IMAGE_BASELINE, TABLE_BASELINE = "histogram+lbp+pyramid+logistic", "logistic"


def model_name(cohort: Cohort, recipe: Recipe) -> ModelName:
    """Return the recipe's model; ``auto`` for a study without images is gradient boosting on its table."""
    is_table = recipe.model == "auto" and not cohort.has_images
    return parse_model(TABLE_DEFAULT if is_table else recipe.model)


def baseline_of(recipe: Recipe) -> str:
    """Return the name of the simple model that a resolved recipe is compared with, or ``none``."""
    if not recipe.learns_labels:
        return "none"
    if recipe.baseline != "auto":
        return recipe.baseline
    name = parse_model(recipe.model)
    if name.shown == "table" or name.with_table:
        return TABLE_BASELINE
    # The features that a fast model is made of are those of one image.
    return "none" if recipe.shape or recipe.cases != "pictures" else IMAGE_BASELINE


def cases_of(cohort: Cohort, recipe: Recipe) -> Cases:
    """Return how the images of a case are pooled, or ``pictures`` where each stands for itself.

    Raises
    ------
    InputError
        If cases are asked for and the study names none, or the model takes none.
    """
    name, study = model_name(cohort, recipe), cohort.study
    takes_none = not cohort.has_images or (name.engine, name.shown) == ("estimator", "images")
    if recipe.cases in ("auto", "pictures"):
        names_cases = study.case_column and (study.view_column or name.with_table) and recipe.learns_labels
        return "attention" if recipe.cases == "auto" and names_cases and not takes_none else "pictures"
    if takes_none and name.shown == "images":
        raise InputError(f"cases: {recipe.cases}, and {name.name} is shown single images. Say cases: pictures.")
    if study.case_column is None and not takes_none:
        raise InputError(f"cases: {recipe.cases}, and the study does not say which images are a case. Say --case COL.")
    return "pictures" if takes_none else recipe.cases


def rows_for(cohort: Cohort, recipe: Recipe) -> Cohort:
    """Return the cohort whose rows a model learns from and answers: of images, or of cases."""
    how = cases_of(cohort, recipe)
    if how == "pictures" and not model_name(cohort, recipe).with_table:
        return cohort
    return by_case(cohort, grouped=how != "pictures")


def _check_cases(cohort: Cohort, recipe: Recipe, name: ModelName) -> None:
    """Raise `InputError` if a recipe for cases asks for what only a net of single images can do."""
    if cases_of(cohort, recipe) == "pictures" and not name.with_table:
        return
    if name.net not in ("auto", LADDER) and nets.split_model(name.net)[1]:
        plain = name.name.replace(name.net, nets.split_model(name.net)[0])
        raise InputError(f"model {name.name!r}: nets of cases are made of plain backbones. Try {plain}.")
    for setting, is_usual in (
        ("tta", not recipe.tta),
        ("augmentation.mixup", not recipe.augmentation.mixup),
        ("layer_decay", recipe.layer_decay == 1),
    ):
        if not is_usual:
            raise InputError(f"{setting} is for nets of single images; {name.name} is shown cases. Leave it out.")
    fast = parse_model(recipe.baseline) if recipe.baseline not in ("auto", "none") else name
    if fast.engine == "estimator" and fast.shown == "images":
        raise InputError(f"baseline {fast.name!r} is shown single images; {name.name} cases. Say none, or logistic.")


def check_labels(cohort: Cohort, recipe: Recipe) -> None:
    """Raise `InputError` where an autoencoder is given labels, or another model none."""
    if recipe.learns_labels == (cohort.task != UNLABELLED):
        return
    if recipe.learns_labels:
        raise InputError(f"{cohort.study.label_file}: the study has no labels. Train it with --model autoencoder.")
    raise InputError(
        f"model {recipe.model!r} learns without labels; the study has {', '.join(cohort.task.names)}. Read the label "
        "file with Declaration(unlabelled=True), and leave --study out."
    )


def check_model(cohort: Cohort, recipe: Recipe) -> ModelName:
    """Return the recipe's model; `InputError` if there is none for the recipe, or the study lacks what it is shown."""
    from focusmap.fitting.estimators import check_kinds

    name = model_name(cohort, recipe)
    if name.shown == "table" or name.with_table:
        type_covariates(cohort)
    if name.shown == "images" and not cohort.has_images:
        raise _lacks_images(cohort, name)
    if name.engine == "estimator":
        check_kinds(name.estimator, [t.name for t in cohort.task.targets if t.is_number])
    elif name.shown == "images":
        nets.check_recipe(replace(recipe, model=name.net))
        _check_cases(cohort, recipe, name)
    nets.check_loss(cohort.task, recipe.loss)
    check_labels(cohort, recipe)
    parse_target_weights(recipe.target_weights, cohort.task)
    if recipe.baseline not in ("auto", "none") and recipe.baseline != recipe.model:
        check_model(cohort, replace(recipe, model=recipe.baseline, tta=False, screen_negatives=0.0))
    if recipe.screen_negatives and name.engine != "estimator":
        raise InputError(
            f"screen_negatives leaves rows out of the fit of an estimator; {name.name} is a net. Try sampling: under."
        )
    if recipe.tta and not name.is_net_of_images:
        raise InputError(f"tta shows a net several views of an image; {name.name} has none. Leave it out.")
    return name


def _lacks_images(cohort: Cohort, name: ModelName) -> InputError:
    without_role = [column for column in cohort.raw if column not in cohort.study.role_columns]
    remedy = call_it_path(columns_of_images(cohort.raw[without_role])) or " Try --model gradient-boosting."
    return InputError(
        f"{cohort.study.label_file}: has no path column (one of {', '.join(PATH_COLUMNS)}), and {name.name} is "
        f"shown images.{remedy}"
    )
