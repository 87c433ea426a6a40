"""What the rules have to know of each model: its settings, and where it is asked for cells."""


def start(wildcards):
    """The activation network, where the training of a model starts at its weights."""
    asked = wildcards.model == "unet" and SETTINGS.training.init == "encoder"
    return f"{SETTINGS.results}/models/encoder.pt" if asked else []


def learning(wildcards):
    """Settings of the training of one model, and where it starts."""
    if wildcards.model != "unet":
        return flags("sam", prefix="sam_")
    encoder = start(wildcards)
    return f"{options(encoder=encoder) if encoder else ''} {flags('training')}".strip()


def networks(wildcards):
    """Number of networks in one model, which learn, and are asked, one after the other."""
    return SETTINGS.training.members if wildcards.model == "unet" else 1


def adapter(wildcards):
    """The model of a slide: that of the cohort, or the adapter that the slide sheet names."""
    named = SLIDES[wildcards.slide].adapter if wildcards.model == "sam_lora" else None
    return named or f"{SETTINGS.results}/models/{wildcards.model}.pt"


def prompts(wildcards):
    """Product that says where a model is asked for cells; only sam_lora is."""
    sources = {
        "pseudomasks": f"{SETTINGS.results}/slides/{wildcards.slide}/pseudomasks.zarr",
        "unet": f"{SETTINGS.results}/models/unet.pt",
    }
    asked = wildcards.model == "sam_lora" and SETTINGS.prompting.points in sources
    return sources[SETTINGS.prompting.points] if asked else []


def asking(wildcards, input):
    """Where and how a model is asked for cells, as command-line options."""
    if wildcards.model != "sam_lora":
        return ""
    where = options(prompts=input.prompts) if input.prompts else ""
    return f"{where} {flags('prompting', prefix='prompting_')}"
