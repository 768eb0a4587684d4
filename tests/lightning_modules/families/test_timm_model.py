import pytest
import torch

from lightning_modules import Timm
from lightning_modules.families.timm_backbones import layer_name
from tests.helpers.data import data_info, random_images
from tests.helpers.families import build, check_family

# small models of different kinds (convolutions, attention, both, mixers), at small sizes
ARCHITECTURES = {
    "convnext_atto": (32, {}),
    "vit_tiny_patch16_224": (32, {"depth": 2}),
    "regnety_002": (32, {}),
    "resnet18.a1_in1k": (32, {"layers": (1, 1, 1, 1)}),
    "mobilenetv3_small_050": (32, {}),
    "swin_tiny_patch4_window7_224": (56, {"depths": (1, 1, 1, 1), "embed_dim": 24}),
    "gmlp_ti16_224": (32, {}),
    "densenet121": (32, {"block_config": (1, 1, 1, 1)}),
    "xcit_nano_12_p16_224": (32, {"depth": 2}),
    "ghostnet_050": (32, {}),
    "levit_128s": (64, {}),
    "edgenext_xx_small": (32, {}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_timm__any_architecture_is_a_backbone(name):
    size, options = ARCHITECTURES[name]
    model = build(Timm, 1, 28, name=name, input_size=size, options=options).eval()
    with torch.no_grad():
        features = model.features(random_images(2, 1, 28))
    assert features.shape == (2, model.head.in_features)
    # each parameter is in exactly one stage
    held = [id(parameter) for parameters in model.stages().values() for parameter in parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in model.backbone.parameters())


def test_timm__is_fitted_saved_and_loaded(tmp_path):
    check_family(Timm, tmp_path, name="vit_tiny_patch16_224", input_size=16, options={"depth": 1})


def test_timm__size_and_statistics_are_those_of_its_weights():
    model = Timm(data_info=data_info(3, 8), name="vit_tiny_patch16_224", options={"depth": 1})
    assert model.size == (224, 224)
    assert model.preprocessing.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    own = Timm(data_info=data_info(3, 8), name="resnet18", input_size=32, normalization="data")
    assert own.preprocessing.mean.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"name": "resnet19"},
            "--model.name resnet19: timm has no architecture of this name; the nearest are resnet18",
        ),
        ({"name": "resnet18.nobody"}, "no weights of resnet18 tagged 'nobody'"),
        ({"name": "convnext_atto", "options": {"drop_path_rat": 0.1}}, "--model.options.drop_path_rat"),
        ({"options": {"num_classes": 3}}, "--model.options.num_classes: the data says"),
        ({"name": "visformer_tiny", "input_size": 4}, "set --model.input_size to 224"),
        ({"name": "vit_tiny_patch16_224", "input_size": 30}, "patches of 16 pixels, and images of 30x30"),
    ],
)
def test_timm__what_it_does_not_take_is_named(options, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        build(Timm, **{"input_size": 32} | options)


def test_timm__freeze_goes_by_its_own_layers():
    model = build(Timm, name="vit_tiny_patch16_224", input_size=32, options={"depth": 3}, freeze="until:blocks.1")
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert {name.partition(".norm")[0] for name in trained if ".norm1" in name} == {"blocks.1", "blocks.2"}
    assert not {"cls_token", "pos_embed", "patch_embed.proj.weight"} & trained
    # a part of a name stands for the first layer below it
    shorter = build(Timm, name="convnext_atto", freeze="until:stages.2", input_size=32)
    assert not any(p.requires_grad for p in shorter.backbone.stages[1].parameters())
    assert all(p.requires_grad for p in shorter.backbone.stages[2].parameters())


def test_timm__layer_decay_goes_by_its_own_layers():
    model = build(Timm, name="vit_tiny_patch16_224", input_size=32, options={"depth": 2}, layer_decay=0.5)
    rates = model.learning_rates()
    assert rates[model.head.weight] == ("head", 1.0)
    assert rates[model.backbone.blocks[1].attn.qkv.weight] == ("blocks.1", 0.5)
    assert rates[model.backbone.blocks[0].attn.qkv.weight] == ("blocks.0", 0.25)
    assert rates[model.backbone.pos_embed] == ("patch_embed", 0.125)


def test_layer_name__is_the_largest_module_within():
    names = ["stem.0.weight", "stages.0.a.weight", "stages.0.b.weight", "stages.1.a.weight"]
    assert layer_name(names[1:3], names) == "stages.0"
    assert layer_name(names[1:2], names) == "stages.0.a"
